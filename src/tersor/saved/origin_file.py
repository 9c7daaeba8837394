"""The ONNX file that a network came from, inside the file of a result."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import onnx_ir as ir
import torch
from onnx import ModelProto
from torch import Tensor

from tersor.errors import UnsupportedError
from tersor.graph.origin import Lifted, Origin, Record
from tersor.saved.carried_text import check_inside
from tersor.saved.tensor_pool import Pool, Store, Stored

_KEY = "origin"


@dataclass(frozen=True)
class SavedOrigin:
    """A file, and what the network has of it, but not where it lay; see `Origin`.

    Attributes:
        content: Its bytes.
        attributes: See `Origin`.
        lifted: See `Origin`.
        records: See `Origin`.
        outputs: See `Origin`.
        checksums: See `Origin`.
        written_out: See `Origin`.
    """

    content: Stored
    attributes: Mapping[str, str]
    lifted: Mapping[str, Lifted]
    records: Mapping[str, Record]
    outputs: tuple[str, ...]
    checksums: Mapping[str, int]
    written_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_KNOWN = [item.name for item in fields(SavedOrigin) if item.name != "content"]


def write_origin(origin: Origin, store: Store) -> SavedOrigin:
    """Store a file.

    Args:
        origin: The file.
        store: Where its bytes go.

    Raises:
        UnsupportedError: It has more than 2 GiB.
    """
    model = origin.model.clone()
    ir.external_data.load_to_model(model)
    try:
        content = ir.to_proto(model).SerializeToString(deterministic=True)
    except Exception as error:
        raise UnsupportedError(
            "the ONNX file that the network came from has more than 2 GiB, which cannot be saved "
            "with it; keep that file, and export the result instead"
        ) from error
    stored = store.add(_KEY, torch.frombuffer(bytearray(content), dtype=torch.uint8))
    return SavedOrigin(stored, **{name: getattr(origin, name) for name in _KNOWN})


def read_origin(saved: SavedOrigin, pool: Pool) -> Origin:
    """Read a file again.

    Args:
        saved: What `write_origin` returned.
        pool: The tensors.

    Raises:
        ValueError: It is damaged, or has weights in another file.
    """
    proto = ModelProto.FromString(as_bytes(pool.take(saved.content)))
    check_inside(proto)
    known = {name: getattr(saved, name) for name in _KNOWN}
    return Origin(ir.from_proto(proto), **known)


def as_bytes(value: Tensor) -> bytes:
    """The bytes that a tensor holds.

    Raises:
        ValueError: It does not hold bytes.
    """
    if value.dtype is not torch.uint8 or value.ndim != 1:
        raise ValueError("what should be bytes is a tensor of another type")
    return value.numpy().tobytes()
