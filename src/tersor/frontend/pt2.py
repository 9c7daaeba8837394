"""Reads a `.pt2` file without running anything that is written in it.

`torch.export.load` unpickles example inputs that are no plain tensors, weights and constants that
ask for it, and custom objects. It loads compiled libraries, and evaluates texts of the program. So
the archive is checked first, and what passed is copied into a new archive in memory, which PyTorch
then reads. Nothing that was not checked reaches it, and the file is read only once.
"""

import io
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from tersor.errors import InvalidModelError, UnsupportedError
from tersor.frontend.explain import first_line, quiet
from tersor.frontend.pt2_program import checked_names, checked_program

_PROGRAM = "models/model.json"
_EXAMPLE = "data/sample_inputs/model.pt"
_CONFIGS = {
    "data/weights/": "data/weights/model_weights_config.json",
    "data/constants/": "data/constants/model_constants_config.json",
}
_TENSOR = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_NEEDED = {_PROGRAM, _EXAMPLE, *_CONFIGS.values()}
_IGNORED = ("byteorder", "archive_format", "archive_version", ".data/", "extra/")
_INTEGERS = b"quantized_decomposed"  # the namespace of operators on integers
_BROADCAST = 1 << 26  # bytes that a weight may take in memory beyond those in the file


def load_program(path: str | Path, *, is_quantized: bool = False) -> ExportedProgram:
    """Load a program that `torch.export.save` wrote.

    Args:
        path: The `.pt2` file.
        is_quantized: Whether it may compute with integer weights, as Tersor's own files do.

    Returns:
        The program, without traces of the source code and without guards.

    Raises:
        InvalidModelError: The file is damaged or inconsistent.
        UnsupportedError: Loading it could run code from the file; the message says which part. Or
            it is quantized, and a float model is needed.
    """
    name = repr(str(path))
    try:
        with quiet():
            copy, has_integers = _checked_copy(Path(path))
            if has_integers and is_quantized:
                from torch.ao.quantization.fx import _decomposed  # noqa: F401  (defines them)
            if is_quantized or not has_integers:
                return torch.export.load(copy)
    except UnsupportedError as error:
        raise UnsupportedError(
            f"{name} {error}; save it again with torch.export.save, or pass the nn.Module itself"
        ) from error
    except Exception as error:
        raise InvalidModelError(
            f"{name} is not a readable torch.export program ({first_line(error)}); "
            "save it again with torch.export.save"
        ) from error
    raise UnsupportedError(f"{name} is quantized already; give the float model that it was made of")


def _checked_copy(path: Path) -> tuple[io.BytesIO, bool]:
    """Copy what a program needs into a new archive, after checking all of it.

    Returns:
        The copy, and whether the program calls operators on integers, which have to be defined.
    """
    from torch.export.pt2_archive import PT2ArchiveWriter  # loads PyTorch's compiler

    copy = io.BytesIO()
    with zipfile.ZipFile(path) as archive, PT2ArchiveWriter(copy) as writer:
        members = _members(archive, path.stat().st_size)
        configs = {
            folder: _checked_config(archive, folder, members[name], members)
            for folder, name in _CONFIGS.items()
        }
        for folder, config in configs.items():
            writer.write_string(_CONFIGS[folder], json.dumps(config))
        text = archive.read(members[_PROGRAM])
        program = checked_program(json.loads(text))
        writer.write_string(_PROGRAM, json.dumps(program))
        writer.write_bytes(_EXAMPLE, _checked_example(archive.read(members[_EXAMPLE])))
        for name, member in members.items():
            if _TENSOR.fullmatch(name):
                writer.write_bytes(name, archive.read(member))
    copy.seek(0)
    return copy, _INTEGERS in text


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The files of the archive, by their names within its single folder."""
    check_stored(archive, size)
    members = {member.filename.partition("/")[2]: member for member in archive.infolist()}
    if missing := sorted(_NEEDED - members.keys()):
        raise ValueError(f"it has no {missing[0]}, as programs saved by PyTorch 2.9 or later do")
    if len(members) < len(archive.infolist()):
        raise ValueError("it holds the same part twice")
    for name in members:
        if name not in _NEEDED and not name.startswith(_IGNORED) and not _TENSOR.fullmatch(name):
            raise UnsupportedError(
                f"holds {name!r}, which is not part of a plain program: custom objects and "
                "compiled code are not loaded, because they could run anything"
            )
    return members


def check_stored(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse an archive whose parts are compressed or overlap, and so hold more than its file.

    Args:
        archive: The archive.
        size: Bytes of its file.

    Raises:
        ValueError: Names the member.
    """
    left = size
    for member in archive.infolist():
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise ValueError(f"{member.filename!r} is compressed, which PyTorch never does")
        left -= member.file_size
    if left < 0:
        raise ValueError(f"its parts claim to hold {-left} bytes more than the file")


def _checked_config(
    archive: zipfile.ZipFile,
    folder: str,
    config: zipfile.ZipInfo,
    members: dict[str, zipfile.ZipInfo],
) -> dict[str, Any]:
    """Read the table of weights or constants, if each is a plain tensor that the file holds."""
    table = json.loads(archive.read(config))
    checked_names(table)
    for name, entry in table["config"].items():
        if entry["use_pickle"] or entry["tensor_meta"] is None:
            raise UnsupportedError(
                f"stores {name!r} as a Python object, which could run code when it is loaded"
            )
        member = members.get(folder + entry["path_name"])
        if member is None:
            raise ValueError(f"the values of {name!r} are missing")
        sizes = [axis["as_int"] for axis in entry["tensor_meta"]["sizes"]]
        if (
            min(sizes, default=0) < 0
            or math.prod(x or 1 for x in sizes) > member.file_size + _BROADCAST
        ):
            raise ValueError(
                f"{name!r} says it has shape {sizes}, but holds {member.file_size} bytes"
            )
    return table


def _checked_example(content: bytes) -> bytes:
    """Rewrite the example inputs, if they are tensors and plain values."""
    if not content:
        return b""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        check_stored(archive, len(content))
    try:
        example = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise UnsupportedError(
            "has example inputs that are Python objects, which could run code when they are loaded"
        ) from error
    copy = io.BytesIO()
    torch.save(example, copy)
    return copy.getvalue()
