"""Writes files as a whole or not at all.

They are made in a temporary folder. That of a running process is locked; one without a lock was
left by a killed run, and goes when the next one is made.
"""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from tersor.errors import ExportError, InvalidInputError

try:
    import fcntl
except ImportError:  # not a Unix system: folders of killed runs stay
    fcntl = None

_PREFIX = ".tersor-"
_TRIES = 3
_CONTENT = "content"  # the name of the file while it is written: those of users may be too long


def write_atomically(path: str | Path, content: bytes | Callable[[Path], None]) -> None:
    """Write a file so that `path` is either the old file or the complete new one.

    The content first goes to a temporary folder next to `path`, is flushed to the disk, and then
    replaces `path` in one step. After a failure nothing is left behind. A file that is replaced
    keeps its permissions and its owner. A link stays, and what it points to is replaced.

    Args:
        path: Path of the file; its folder must exist.
        content: The bytes, or a function that writes the file at the path it is given. Other files
            that it writes beside it (external weights) are moved along, before `path` itself.

    Raises:
        ExportError: The message names the path and the reason, such as a full disk.
    """
    path = Path(path)
    try:
        target = _target(path)
        with temporary_folder(target.parent) as folder:
            temporary = folder / _CONTENT
            if callable(content):
                content(temporary)
            else:
                temporary.write_bytes(content)
            beside = [file for file in folder.iterdir() if file != temporary]
            for file in (*beside, temporary):
                _flush(file)
            _like_before(temporary, target)
            for file in beside:
                file.replace(target.parent / file.name)
            _flush_folder(target.parent)
            temporary.replace(target)
            _flush_folder(target.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error


def write_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file as `write_atomically` does.

    Args:
        path: Path of the file; its folder must exist.
        tensors: Tensors by name, on any device.
        metadata: Texts to store with them.

    Raises:
        ExportError: See `write_atomically`.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def save(temporary: Path) -> None:
        try:
            save_file(whole, temporary, metadata)
        except SafetensorError as error:  # a full disk, too
            raise OSError(str(error)) from error

    write_atomically(path, save)


@contextmanager
def temporary_folder(parent: str | Path | None = None) -> Iterator[Path]:
    """Make a folder that is removed at the end; those that killed runs left there go first.

    Args:
        parent: The folder to make it in. Default: that of the system for temporary files.
    """
    place = Path(tempfile.gettempdir() if parent is None else parent)
    remove_left(place)
    folder, lock = _locked_folder(place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _release(lock)


def remove_left(place: Path) -> None:
    """Remove the temporary folders that killed runs left in a folder.

    Args:
        place: The folder.
    """
    for folder in place.glob(f"{_PREFIX}*"):
        lock = None if folder.is_symlink() or not folder.is_dir() else _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            _release(lock)


def check_plain(path: Path) -> None:
    """Check that something is a file: reading a pipe may wait without an end.

    Args:
        path: The path of what exists.

    Raises:
        OSError: It is a folder, a pipe or a device.
    """
    if not path.is_file():
        raise OSError(errno.EINVAL, "it is no plain file")


def is_alone(folder: Path) -> bool:
    """Whether no other process is writing a file in a folder, as far as the system can tell.

    Args:
        folder: The folder.
    """
    if fcntl is None:
        return False
    remove_left(folder)
    return not any(folder.glob(f"{_PREFIX}*"))


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from working in a folder, where the system can do that.

    Args:
        folder: The folder; it must exist.

    Raises:
        InvalidInputError: Another process is working there.
    """
    lock = _lock(folder)
    if lock is None and fcntl is not None:
        raise InvalidInputError(
            f"another process is working in {str(folder)!r}; wait for its end, or give another "
            "folder"
        )
    try:
        yield
    finally:
        _release(lock)


def check_writable(path: str | Path) -> None:
    """Check that a file can be written, before hours of work.

    Args:
        path: Path of the file. Nothing is left there.

    Raises:
        ExportError: See `write_atomically`; a full disk is not detected.
    """
    path = Path(path)
    try:
        with temporary_folder(_target(path).parent):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from error


def check_output(path: str | Path, model: str) -> None:
    """Check that a model file can be written, and where, before hours of work.

    Args:
        path: Path of the file. Nothing is left there.
        model: The user's name of the model, which must not be overwritten.

    Raises:
        ExportError: See `check_writable`; or the name is not that of a model file, or is the
            model's own.
    """
    path = Path(path)
    check_writable(path)
    if path.suffix not in (".onnx", ".pte", ".pt2"):
        raise ExportError(
            f"{str(path)!r} would be an ONNX file; call it {path.stem}.onnx, {path.stem}.pte for "
            f"ExecuTorch, or {path.stem}.pt2 for PyTorch"
        )
    check_other(path, [model])


def check_other(path: str | Path, sources: Sequence[str | Path]) -> None:
    """Check that a file is not one of those that it is made of.

    Args:
        path: Path of the file.
        sources: Those files; some may not exist.

    Raises:
        ExportError: It is one of them.
    """
    path = Path(path)
    for source in map(Path, sources):
        if path.exists() and source.exists() and path.samefile(source):
            raise ExportError(
                f"{str(path)!r} is the float model itself; give the output another name, such as "
                f"{path.stem}.int8.onnx"
            )


def _target(path: Path) -> Path:
    """The file that is written, behind all links.

    Raises:
        OSError: There is a folder, a pipe or a device.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")
    return target


def _like_before(new: Path, old: Path) -> None:
    """Give a file the permissions and the owner of the one that it replaces."""
    if not old.exists():
        return
    before = old.stat()
    with suppress(PermissionError):  # only the superuser gives files away
        os.chown(new, before.st_uid, before.st_gid)
    new.chmod(stat.S_IMODE(before.st_mode))


def _locked_folder(place: Path) -> tuple[Path, int | None]:
    """Make a folder that other processes see as in use, where the file system can tell."""
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        lock = _lock(folder)
        if lock is not None:
            return folder, lock
        shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place)), None


def _lock(folder: Path) -> int | None:
    """Lock a folder; None if another process has it, or has removed it."""
    if fcntl is None:
        return None
    handle = None
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.exists():
            return handle
    _release(handle)
    return None


def _release(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def _cannot_write(path: Path, error: OSError) -> ExportError:
    return ExportError(
        f"cannot write {str(path)!r}: {error.strerror or error}; nothing was written. Choose "
        "an existing folder with write permission and enough space"
    )


def _flush(path: Path) -> None:
    """Wait until the file is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Wait until new names in a folder are on the disk, where the system can do that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
