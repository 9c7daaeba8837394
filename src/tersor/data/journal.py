"""Saves the finished layers of a long run, so that an interrupted run can resume.

A folder holds one safetensors file for each finished layer, and a manifest with a hash of all that
the result depends on: network, options and data. A layer that is there is read, not solved again.
Every layer has a seed of its own, so the result is the same as without an interruption, to the bit.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.data.observe import Batch
from tersor.errors import InvalidInputError
from tersor.files import write_atomically, write_tensors
from tersor.graph.network import Applied, Network, Record, Skipped

_MANIFEST = "manifest.json"
_FORMAT = 1


class Journal:
    """The finished layers of one run.

    Attributes:
        folder: The folder that holds them.
    """

    def __init__(self, folder: str | Path, fingerprint: str) -> None:
        """Open a folder, or create one.

        Args:
            folder: The folder; created if it does not exist.
            fingerprint: Hash of what the result depends on, see `fingerprint`.

        Raises:
            InvalidInputError: The folder holds another run, or something else.
            ExportError: The folder cannot be written.
        """
        self.folder = Path(folder)
        expected = {"format": _FORMAT, "fingerprint": fingerprint}
        manifest = self.folder / _MANIFEST
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not manifest.exists():
                if any(self.folder.glob("*.safetensors")):
                    raise InvalidInputError(f"{str(folder)!r} is no folder of a run; give another")
                write_atomically(manifest, json.dumps(expected).encode())
            found = json.loads(manifest.read_text())
        except (OSError, ValueError) as error:
            raise InvalidInputError(
                f"{str(folder)!r} cannot keep the progress of a run ({error}); give another folder"
            ) from error
        if found != expected:
            raise InvalidInputError(
                f"{str(folder)!r} holds a run with another network, other options or other data; "
                "give another folder, or delete it to start again"
            )

    def read(self, key: str) -> tuple[dict[str, Tensor], Record] | None:
        """Read what was written for a layer, or None.

        Args:
            key: Identifies the layer.

        Raises:
            InvalidInputError: The file is damaged.
        """
        path = self._path(key)
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                record = _record(json.loads(file.metadata()["record"]))
                return {name: file.get_tensor(name) for name in file.keys()}, record  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
            raise InvalidInputError(
                f"{str(path)!r} is damaged ({error}); delete it, and its layer is solved again"
            ) from error

    def write(self, key: str, tensors: dict[str, Tensor], record: Record) -> None:
        """Save a finished layer; the file is written as a whole or not at all.

        Args:
            key: Identifies the layer.
            tensors: The state of the layer.
            record: The record of what was done to the layer.

        Raises:
            ExportError: The file cannot be written.
        """
        metadata = {"record": json.dumps({"kind": type(record).__name__, **vars(record)})}
        write_tensors(self._path(key), tensors, metadata)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def fingerprint(network: Network, batches: list[Batch], options: Iterable[Any]) -> str:
    """Compute a hash of everything that the result of a run depends on.

    Args:
        network: The network at the start of the run.
        batches: The data.
        options: Everything else: dataclasses, or whatever has a `repr`.
    """
    digest = hashlib.sha256(torch.__version__.encode())
    digest.update(repr([_stable(option) for option in options]).encode())
    digest.update(str(network.graph).encode())
    for name, tensor in network.module.state_dict().items():
        digest.update(name.encode())
        hash_tensor(digest, tensor)
    for leaf in pytree.tree_leaves(batches):
        if isinstance(leaf, Tensor):
            hash_tensor(digest, leaf)
    return digest.hexdigest()


def _stable(value: Any) -> Any:
    """Convert a value so that its `repr` is the same in every process, unlike that of a set."""
    if is_dataclass(value):
        return type(value).__name__, {k: _stable(x) for k, x in vars(value).items()}
    return sorted(map(str, value)) if isinstance(value, frozenset | set) else value


def hash_tensor(digest: Any, tensor: Tensor) -> None:
    """Add the type, shape and values of a tensor to a hash of `hashlib`."""
    digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """A hash of all names, types, shapes and values.

    Args:
        tensors: Tensors by name.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        hash_tensor(digest, tensors[name])
    return digest.hexdigest()


def _record(stored: dict[str, Any]) -> Record:
    kinds = {"Applied": Applied, "Skipped": Skipped}
    return kinds[stored.pop("kind")](**stored)
