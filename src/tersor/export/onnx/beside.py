"""Files whose weights lie beside them, in a second file whose name says what it holds."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx.external_data_helper import set_external_data

from tersor.export.evidence.seal import seal
from tersor.export.onnx.checking import check
from tersor.files import is_alone, write_atomically
from tersor.frontend.onnx.stored import files
from tersor.frontend.onnx.tail import join_tail

_DATA = ".data"
_LONGEST = 200  # characters of a name that leave room for what comes behind


#: Adds to a file, which is complete and has a seal.
Leave = Callable[[Path, str], None]


def write_beside(model: ir.Model, path: Path, leave: Leave | None) -> int:
    """Write a model and its weights as two files; the old pair stays whole until the new one is.

    Args:
        model: The model.
        path: Path of the model; its weights lie beside it.
        leave: Adds to the file what it is expected to compute, if that is wanted.

    Returns:
        The bytes of both.
    """
    path = Path(os.path.realpath(path))  # a link stays, and the weights lie beside the file itself

    def write(temporary: Path) -> None:
        data = temporary.with_name("weights")
        ir.save(model, temporary, external_data=data.name)
        proto = onnx.load(temporary, load_external_data=False)
        join_tail(proto)
        sealed = seal(proto, temporary.parent)
        name = f"{path.name[:_LONGEST]}.{sealed}{_DATA}"
        for value in proto.graph.initializer:
            if value.data_location == onnx.TensorProto.EXTERNAL:
                _move(value, name)
        data.rename(temporary.with_name(name))
        temporary.write_bytes(proto.SerializeToString())
        check(temporary)
        if leave is not None:
            leave(temporary, sealed)

    write_atomically(path, write)
    remove_unread(path)
    return sum(file.stat().st_size for file in {path, *_read_by(path)})


def remove_unread(path: Path) -> None:
    """Remove weights that were written for a file and that it does not read.

    They are those of the file before, or of a run that was killed. If another process is writing
    in the folder, they may be its own: they stay until the next time.

    Args:
        path: The file.
    """
    path = Path(os.path.realpath(path))
    own = re.compile(re.escape(f"{path.name[:_LONGEST]}.") + rf"[0-9a-f]{{16}}\{_DATA}")
    found = {file: file.stat().st_ino for file in path.parent.iterdir() if own.fullmatch(file.name)}
    if not found or not is_alone(path.parent):
        return
    for file in found.keys() - _read_by(path):
        if file.stat().st_ino == found[file]:
            file.unlink(missing_ok=True)


def _move(value: onnx.TensorProto, name: str) -> None:
    found = {entry.key: entry.value for entry in value.external_data}
    value.raw_data = b""  # which the next line wants to see
    set_external_data(value, name, int(found["offset"]), int(found["length"]))
    value.ClearField("raw_data")


def _read_by(path: Path) -> set[Path]:
    """The files that a file reads."""
    return files(path) - {path}
