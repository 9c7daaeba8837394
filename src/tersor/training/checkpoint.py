"""Saves a whole run in one file, so that an interrupted run can resume.

The file is written whole or not at all (`tersor.files`). It holds tensors and JSON, nothing that
could run code when loaded. A hash of its tensors detects damage, and a hash of the network and the
options detects that it belongs to another run.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from tersor.data.journal import hash_tensors
from tersor.errors import InvalidInputError
from tersor.files import write_tensors

NAME = "checkpoint.safetensors"
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint file of a run.

    Attributes:
        folder: The folder of the file.
        fingerprint: Hash of the network and the options.
    """

    folder: Path
    fingerprint: str

    @staticmethod
    def open(folder: str | Path, fingerprint: str) -> "Checkpoint":
        """Open a folder for a run; it is created if it does not exist.

        Raises:
            InvalidInputError: The folder cannot be created.
        """
        path = Path(folder)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInputError(
                f"{str(folder)!r} cannot keep checkpoints ({error}); give another folder"
            ) from error
        return Checkpoint(path, fingerprint)

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / NAME

    def write(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Replace the file.

        Args:
            step: Number of finished batches.
            tensors: The state.

        Raises:
            ExportError: The file cannot be written; the old file is still there.
        """
        about = {"format": _FORMAT, "fingerprint": self.fingerprint, "step": step}
        metadata = {"run": json.dumps({**about, "digest": hash_tensors(tensors)})}
        write_tensors(self.path, tensors, metadata)

    def read(self) -> tuple[int, dict[str, Tensor]] | None:
        """Read the step and the state; None if there is no file.

        Raises:
            InvalidInputError: The file is damaged, or belongs to another run.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                about = json.loads(file.metadata()["run"])
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            step, kind, digest = int(about["step"]), about["format"], about["digest"]
            fingerprint = about["fingerprint"]
        except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
            raise self._damaged(str(error)) from error
        if kind != _FORMAT or fingerprint != self.fingerprint:
            raise InvalidInputError(
                f"{str(self.path)!r} belongs to a run with another network or other options; give "
                "another folder, or delete it to start again"
            )
        if digest != hash_tensors(found):
            raise self._damaged("its tensors differ from those that were written")
        return step, found

    def _damaged(self, reason: str) -> InvalidInputError:
        return InvalidInputError(
            f"{str(self.path)!r} is damaged ({reason}); delete it to start again"
        )


def whole(tensor: Tensor) -> Tensor:
    """Gather a whole tensor; every process must call this.

    Args:
        tensor: A tensor that may be sharded over processes.
    """
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """Move a whole tensor to the device of another one, and shard it in the same way.

    Args:
        tensor: The whole tensor, the same in every process.
        other: A tensor that may be sharded over processes.
    """
    if isinstance(other, DTensor):
        return distribute_tensor(
            tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None
        )
    return tensor.to(other.device)
