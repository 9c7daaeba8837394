"""Saves a whole run in one file, so that an interrupted run can resume.

The file is written whole or not at all (`tersor.files`), and the one before it is kept. It holds
tensors and JSON, nothing that could run code when loaded. A digest detects damage, and a
fingerprint that it belongs to another run.
"""

import json
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from tersor.data.runs.fingerprint import Fingerprint, differences, hash_tensors
from tersor.errors import CheckpointWarning, InvalidInputError
from tersor.files import check_plain, remove_left, write_tensors
from tersor.frontend.explain import first_line

NAME = "checkpoint.safetensors"
BEFORE = "checkpoint.before.safetensors"
_ERRORS = (
    SafetensorError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RecursionError,  # of JSON
)
Found = tuple[int, dict[str, Tensor]]


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint files of a run: the last two.

    Attributes:
        folder: The folder of the files.
        fingerprint: What the result of the run depends on, see `tersor.data.runs.fingerprint`.
    """

    folder: Path
    fingerprint: Fingerprint

    @staticmethod
    def open(folder: str | Path, fingerprint: Fingerprint) -> "Checkpoint":
        """Open a folder for a run; it is created if it does not exist.

        Raises:
            InvalidInputError: The folder cannot be created.
        """
        path = Path(folder)
        try:
            path.mkdir(parents=True, exist_ok=True)
            remove_left(path)
        except OSError as error:
            raise InvalidInputError(
                f"{str(folder)!r} cannot keep checkpoints ({first_line(error)}); give another "
                "folder"
            ) from error
        return Checkpoint(path, fingerprint)

    @property
    def path(self) -> Path:
        """The last file."""
        return self.folder / NAME

    @property
    def before(self) -> Path:
        """The file before the last one."""
        return self.folder / BEFORE

    def write(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Write the last file; the one that was the last is kept as the one before it.

        Args:
            step: Number of finished batches.
            tensors: The state.

        Raises:
            ExportError: The file cannot be written; the old file is still there.
        """
        about = {"fingerprint": {**self.fingerprint}, "step": step}
        metadata = {"run": json.dumps({**about, "digest": hash_tensors(tensors, about)})}
        if self.path.exists():
            self.path.replace(self.before)
        write_tensors(self.path, tensors, metadata)

    def read(self) -> Found | None:
        """Read the step and the state of the last file that is whole; None if there is no file.

        A damaged one goes if the one before it is whole.

        Raises:
            InvalidInputError: All files are damaged, or one belongs to another run.
        """
        damaged: list[str] = []
        for path in (self.path, self.before):
            if not path.exists():
                continue
            try:
                found = self._found(path)
            except _ERRORS as error:
                damaged.append(f"{str(path)!r} is damaged ({first_line(error)})")
                continue
            if damaged:
                said = f"{damaged[0]}; the run goes on from the checkpoint before it"
                warnings.warn(f"{said}, at step {found[0]}", CheckpointWarning, stacklevel=2)
                with suppress(OSError):  # the next one must not put it in the place of the whole
                    self.path.unlink()
            return found
        if damaged:
            raise InvalidInputError(f"{', and '.join(damaged)}; delete it to start again")
        return None

    def _found(self, path: Path) -> Found:
        """What a file holds."""
        check_plain(path)
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["run"])
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        digest = about.pop("digest")
        if what := differences(self.fingerprint, about.get("fingerprint")):
            raise InvalidInputError(
                f"{str(path)!r} belongs to a run with {what}; give another folder, or delete it "
                "to start again"
            )
        if digest != hash_tensors(found, about):
            raise ValueError("it is not what was written")
        return int(about["step"]), found


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
