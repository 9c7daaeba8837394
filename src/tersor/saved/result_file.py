"""Writes and reads the file of a result: a safetensors file with one tensor that is JSON.

A checksum over everything detects damage. A version number tells a file of a newer Tersor.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import safetensors.torch
import torch
from torch import Tensor

from tersor.data.invented.plausible import Assumed
from tersor.data.runs.fingerprint import hash_tensors
from tersor.errors import InvalidModelError, TersorError, UnsupportedError
from tersor.frontend.explain import first_line, quiet
from tersor.graph.network import Network
from tersor.quant.scheme import Scheme
from tersor.saved.network_parts import SavedNetwork, read_network, write_network
from tersor.saved.origin_file import SavedOrigin, as_bytes, read_origin, write_origin
from tersor.saved.tensor_pool import Pool, Store
from tersor.saved.typed import as_json, from_json
from tersor.training.log import Line

VERSION = 1
_SEAL = "tersor"  # what the metadata call version and checksum
_DESCRIPTION = "description"
_LARGEST = 1 << 28  # bytes of JSON


@dataclass(frozen=True)
class Description:
    """What the JSON of a file says.

    Attributes:
        kind: What the result is.
        networks: Its networks, by the name of the attribute.
        scheme: The integer format, if there is one.
        assumed: What was assumed about the inputs.
        training: The training curve.
        origin: The ONNX file that the networks came from.
    """

    kind: Literal["quantized", "compressed"]
    networks: Mapping[str, SavedNetwork]
    scheme: Scheme | None
    assumed: Assumed | None
    training: tuple[Line, ...]
    origin: SavedOrigin | None


@dataclass(frozen=True)
class Parts:
    """What a result is made of; see `Description`."""

    kind: Literal["quantized", "compressed"]
    networks: Mapping[str, Network]
    scheme: Scheme | None = None
    assumed: Assumed | None = None
    training: tuple[Line, ...] = ()


def to_bytes(parts: Parts) -> bytes:
    """The content of a file.

    Args:
        parts: The parts of the result.

    Raises:
        UnsupportedError: Something in a network has no form in a file.
    """
    store = Store()
    origins = {id(x.origin): x.origin for x in parts.networks.values() if x.origin is not None}
    if len(origins) > 1:
        raise UnsupportedError(
            "the networks of the result came from different files; quantize or compress again"
        )
    networks = {k: write_network(x, store, k) for k, x in parts.networks.items()}
    origin = next((write_origin(x, store) for x in origins.values()), None)
    facts = parts.scheme, parts.assumed, parts.training, origin
    text = json.dumps(as_json(Description(parts.kind, networks, *facts)), allow_nan=False)
    described = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    tensors = {**store.tensors, _DESCRIPTION: described}
    return safetensors.torch.save(tensors, seal(tensors))


def seal(tensors: Mapping[str, Tensor], version: int = VERSION) -> dict[str, str]:
    """The metadata of a file.

    Args:
        tensors: What it holds.
        version: The version of the format.
    """
    about = {"version": version, "checksum": hash_tensors(tensors)}
    return {_SEAL: json.dumps(about)}  # one text: safetensors writes several in any order


def from_bytes(content: bytes, name: str) -> Parts:
    """Read the content of a file; nothing in it runs.

    Args:
        content: What `to_bytes` returned.
        name: What the file is called in messages.

    Raises:
        InvalidModelError: It is damaged or inconsistent.
        UnsupportedError: A newer Tersor wrote it, or it needs what is not here.
    """
    try:
        with quiet():
            return _read(content)
    except UnsupportedError as error:
        raise UnsupportedError(f"{name!r} cannot be loaded: {first_line(error)}") from error
    except Exception as error:
        why = first_line(error) if str(error).strip() else type(error).__name__
        own = isinstance(error, TersorError | ValueError)
        reason = why if own else f"{type(error).__name__}: {why}"
        raise InvalidModelError(
            f"{name!r} is damaged, or no file that `save` wrote ({reason}); save it again"
        ) from error


def _read(content: bytes) -> Parts:
    metadata = _metadata(content)
    if not isinstance(metadata.get(_SEAL), str):
        raise ValueError("it does not say that Tersor wrote it")
    _check_version(json.loads(metadata[_SEAL])["version"])
    tensors = safetensors.torch.load(content)
    if metadata != seal(tensors):
        raise ValueError("its content differs from what was written")
    described = as_bytes(tensors.pop(_DESCRIPTION))
    if len(described) > _LARGEST:
        raise ValueError(f"its description has {len(described)} bytes")
    known = from_json(json.loads(described), Description, "description")
    pool = Pool(tensors)
    origin = None if known.origin is None else read_origin(known.origin, pool)
    networks = {name: read_network(x, pool, origin) for name, x in known.networks.items()}
    return Parts(known.kind, networks, known.scheme, known.assumed, known.training)


def _metadata(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: a length in 8 bytes, then JSON."""
    size = int.from_bytes(content[:8], "little")
    if not 2 <= size <= len(content) - 8:
        raise ValueError("it is no safetensors file, or truncated")
    header = json.loads(content[8 : 8 + size])
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else {}


def _check_version(version: object) -> None:
    if not isinstance(version, int) or not 0 < version < 1000:
        raise ValueError(f"its version is {repr(version)[:40]}")
    if version > VERSION:
        raise UnsupportedError(
            f"it has version {version} of the format, and this Tersor reads version {VERSION}; "
            "install a newer one: pip install --upgrade tersor"
        )
