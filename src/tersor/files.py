"""Writes files as a whole or not at all."""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from tersor.errors import ExportError


def write_atomically(path: str | Path, content: bytes | Callable[[Path], None]) -> None:
    """Write a file so that `path` is either the old file or the complete new one.

    The content first goes to a temporary folder next to `path`, is flushed to the disk, and then
    replaces `path` in one step. Other files that `content` writes there (external weights) are
    moved along, before `path` itself. After a failure nothing is left behind.

    Args:
        path: Path of the file; its folder must exist.
        content: The bytes, or a function that writes the file at the path it is given.

    Raises:
        ExportError: The message names the path and the reason, such as a full disk.
    """
    path = Path(path)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            if callable(content):
                content(temporary)
            else:
                temporary.write_bytes(content)
            beside = [file for file in Path(folder).iterdir() if file != temporary]
            for file in (*beside, temporary):
                _flush(file)
            for file in (*beside, temporary):
                file.replace(path.parent / file.name)
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


def check_writable(path: str | Path) -> None:
    """Check that a file can be written, before hours of work.

    Args:
        path: Path of the file. Nothing is left there.

    Raises:
        ExportError: See `write_atomically`; a full disk is not detected.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from error


def check_output(path: str | Path, model: str) -> None:
    """Check that an ONNX file can be written, and where, before hours of work.

    Args:
        path: Path of the file. Nothing is left there.
        model: The user's name of the model, which must not be overwritten.

    Raises:
        ExportError: See `check_writable`; or the name is not that of an ONNX file, or is the
            model's own.
    """
    path = Path(path)
    check_writable(path)
    if path.suffix != ".onnx":
        raise ExportError(f"{str(path)!r} would be an ONNX file; call it {path.stem}.onnx")
    if path.exists() and Path(model).exists() and path.samefile(model):
        raise ExportError(
            f"{str(path)!r} is the float model itself; give the output another name, such as "
            f"{path.stem}.int8.onnx"
        )


def _cannot_write(path: Path, error: OSError) -> ExportError:
    return ExportError(
        f"cannot write {str(path)!r}: {error.strerror or error}; nothing was written. Choose "
        "an existing folder with write permission and enough space"
    )


def _flush(path: Path) -> None:
    """Wait until the file is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
