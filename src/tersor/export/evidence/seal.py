"""Seals a file: it says in its metadata what it holds, so that a change or damage is seen later.

    seal = [checksum of everything but the stored values, checksum of each stored value in order]

A seal tells damage and edits apart from the file that was written. It is no signature: whoever
edits a file on purpose can write a new seal. What the file is expected to compute is beside it; see
`tersor.export.evidence.evidence`.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import onnx_ir as ir

from tersor.errors import InvalidInputError
from tersor.frontend.explain import first_line
from tersor.frontend.onnx.stored import file_beside

_KEY = "tersor.seal"
EXPECTED = "tersor.expected"
_OWN = (_KEY, EXPECTED)
_BYTES = 6  # of each checksum: a changed value goes unseen once in 2.8e14


def seal(
    model: onnx.ModelProto,
    folder: Path | None = None,
    contents: Mapping[str, ir.TensorProtocol] | None = None,
) -> str:
    """Write the seal into a file.

    Args:
        model: The file; edited in place.
        folder: The folder of values that are stored beside the file, if there are some.
        contents: As in `tersor.export.onnx.in_parts.Parts`.

    Returns:
        A text that is another one for every content.
    """
    for note in [note for note in model.metadata_props if note.key in _OWN]:
        model.metadata_props.remove(note)
    value = _seal(model, folder, contents or {})
    model.metadata_props.add(key=_KEY, value=value)
    return _short(value)


def notes(path: str | Path) -> dict[str, str]:
    """Read what Tersor wrote into the metadata of a file.

    Args:
        path: The file.

    Raises:
        InvalidInputError: It cannot be read at all.
    """
    return _notes(_read(path))


def short_seal(found: Mapping[str, str]) -> str:
    """What `seal` returned for a file.

    Args:
        found: The notes of the file.
    """
    return _short(found.get(_KEY, ""))


def changes(path: str | Path) -> list[str] | None:
    """Compare a file with its seal.

    Args:
        path: The file.

    Returns:
        What was changed since the file was written, one sentence each. None if it has no seal.

    Raises:
        InvalidInputError: It cannot be read at all.
    """
    return _changes(_read(path), path)


def changes_and_notes(path: str | Path) -> tuple[list[str] | None, dict[str, str]]:
    """What `changes` and `notes` return, of a file that is read once.

    Args:
        path: The file.

    Raises:
        InvalidInputError: It cannot be read at all.
    """
    model = _read(path)
    return _changes(model, path), _notes(model)


def _notes(model: onnx.ModelProto) -> dict[str, str]:
    found = [(_text(x.key), _text(x.value)) for x in model.metadata_props]
    return {key: value for key, value in found if key.startswith("tersor")}


def _changes(model: onnx.ModelProto, path: str | Path) -> list[str] | None:
    try:
        written = next((note.value for note in model.metadata_props if note.key == _KEY), None)
        if written is None:
            return None
        before, now = _parts(written), _parts(_seal(model, Path(path).parent, {}))
    except Exception as error:
        raise _damaged(path, error) from error
    if len(before) != len(now):
        return ["stored values were added or removed"]
    names = [value.name for value in model.graph.initializer]
    found = [
        f"the stored value {name!r} is not what was written"
        for name, old, new in zip(names, before[1:], now[1:], strict=True)
        if old != new
    ]
    if before[0] != now[0]:
        found.insert(0, "its nodes, inputs, outputs or names are not what was written")
    return found


def _read(path: str | Path) -> onnx.ModelProto:
    try:
        if not Path(path).is_file():
            raise FileNotFoundError("there is no such file")
        return onnx.load(path, load_external_data=False)
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: str | Path, error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"{str(path)!r} is damaged or missing ({first_line(error)}); copy or export it again"
    )


def _text(value: str | bytes) -> str:
    """A text of a file; a damaged one is read as bytes."""
    return value if isinstance(value, str) else value.decode(errors="replace")


def _short(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:16]


def _seal(
    model: onnx.ModelProto, folder: Path | None, contents: Mapping[str, ir.TensorProtocol]
) -> str:
    parts = [_digest(_structure(model))]
    parts += [_digest(_content(value, folder, contents)) for value in model.graph.initializer]
    return base64.b64encode(b"".join(parts)).decode()


def _parts(text: str) -> list[bytes]:
    content = base64.b64decode(text)
    return [content[start : start + _BYTES] for start in range(0, len(content), _BYTES)]


def _digest(parts: Iterator[bytes]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()[:_BYTES]


def _structure(model: onnx.ModelProto) -> Iterator[bytes]:
    """Everything that decides what is computed, but for the stored values."""
    graph = model.graph
    own = {note.key: note.value for note in model.metadata_props if note.key.startswith("tersor")}
    yield repr(sorted((key, value) for key, value in own.items() if key not in _OWN)).encode()
    for part in (*model.opset_import, *model.functions, *graph.input, *graph.output, *graph.node):
        yield part.SerializeToString(deterministic=True)
    for value in graph.sparse_initializer:
        yield value.SerializeToString(deterministic=True)


def _content(
    value: onnx.TensorProto, folder: Path | None, contents: Mapping[str, ir.TensorProtocol]
) -> Iterator[bytes]:
    yield repr((value.name, value.data_type, list(value.dims))).encode()
    if value.name in contents:
        yield contents[value.name].tobytes()
        return
    if value.data_location != onnx.TensorProto.EXTERNAL or folder is None:
        yield value.raw_data or value.SerializeToString(deterministic=True)
        return
    place = {entry.key: entry.value for entry in value.external_data}
    start, length = int(place.get("offset", 0)), int(place.get("length", 0))
    path = file_beside(folder.resolve(), place["location"], start + length, value.name)
    with path.open("rb") as file:
        file.seek(start)
        yield file.read(length if "length" in place else -1)
