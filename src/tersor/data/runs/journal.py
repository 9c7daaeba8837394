"""Saves the finished layers of a long run, so that an interrupted run can resume.

A folder holds one safetensors file for each finished layer, and a manifest that says of which run:
see `tersor.data.runs.fingerprint`. A layer that is there is read, not solved again. Every layer has
a seed of its own, so the result is the same as without an interruption, to the bit. A digest in
each file detects damage, and files of another layer or of another run.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from tersor.data.runs.fingerprint import Fingerprint, differences, hash_tensors
from tersor.errors import InvalidInputError
from tersor.files import check_plain, remove_left, write_atomically, write_tensors
from tersor.frontend.explain import first_line
from tersor.graph.network import Applied, Record, Skipped

_MANIFEST = "manifest.json"


class Journal:
    """The finished layers of one run.

    Attributes:
        folder: The folder that holds them.
        fingerprint: What the result of the run depends on.
    """

    def __init__(self, folder: str | Path, fingerprint: Fingerprint) -> None:
        """Open a folder, or create one.

        Args:
            folder: The folder; created if it does not exist.
            fingerprint: What the result depends on, see `tersor.data.runs.fingerprint`.

        Raises:
            InvalidInputError: The folder holds another run, or something else.
            ExportError: The folder cannot be written.
        """
        self.folder, self.fingerprint = Path(folder), fingerprint
        manifest = self.folder / _MANIFEST
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_left(self.folder)
            if not manifest.exists():
                if any(self.folder.glob("*.safetensors")):
                    raise InvalidInputError(f"{str(folder)!r} is no folder of a run; give another")
                write_atomically(manifest, json.dumps({"run": {**fingerprint}}).encode())
            check_plain(manifest)
            found = json.loads(manifest.read_bytes()).get("run")
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise InvalidInputError(
                f"{str(folder)!r} cannot keep the progress of a run ({first_line(error)}); "
                "give another folder"
            ) from error
        if what := differences(fingerprint, found):
            raise InvalidInputError(
                f"{str(folder)!r} holds a run with {what}; give another folder, or delete it to "
                "start again"
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
            check_plain(path)
            with safe_open(path, "pt") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                about = file.metadata()
            about = json.loads(about["layer"])  # one text, as the order of several would vary
            record = str(about["record"])
            if about["digest"] != self._digest(key, found, record):
                raise ValueError("it is not what was written for this layer")
            return found, _record(json.loads(record))
        except (SafetensorError, OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidInputError(
                f"{str(path)!r} is damaged ({first_line(error)}); delete it, and its layer is "
                "solved again"
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
        told = json.dumps({"kind": type(record).__name__, **vars(record)})
        about = {"record": told, "digest": self._digest(key, tensors, told)}
        write_tensors(self._path(key), tensors, {"layer": json.dumps(about)})

    def _digest(self, key: str, tensors: dict[str, Tensor], record: str) -> str:
        return hash_tensors(tensors, {**self.fingerprint}, key, record)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def _record(stored: dict[str, Any]) -> Record:
    kinds = {"Applied": Applied, "Skipped": Skipped}
    return kinds[stored.pop("kind")](**stored)
