"""Files of kinds that everybody has, as bytes: sources of Python, tables, pictures and archives."""

import bz2
import gzip
import importlib.util
import io
import json
import lzma
import marshal
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

_NAMES = ("width", "height", "colour", "weight", "price", "owner", "city", "amount")
_SAVED = (2026, 1, 31, 12, 0, 0)  # when each file of an archive was saved; else it would be now


def contents(count: int) -> list[tuple[str, bytes]]:
    """Kind and bytes of files, the kinds in turn.

    Args:
        count: How many.
    """
    kinds = list(_MAKERS)
    return [(kind, _MAKERS[kind](i)) for i in range(count) for kind in [kinds[i % len(kinds)]]]


@cache
def _sources() -> list[bytes]:
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return [path.read_bytes() for path in paths if path.stat().st_size > 3000]


def _source(number: int) -> bytes:
    return _sources()[7 * number % len(_sources())]


def _table(number: int) -> list[dict[str, float]]:
    generator = np.random.default_rng(number)
    names = [str(name) for name in generator.choice(_NAMES, 5, replace=False)]
    count = int(generator.integers(15, 80))
    return [{name: round(float(generator.normal()), 3) for name in names} for _ in range(count)]


def _json(number: int) -> bytes:
    rows = _table(number)
    return json.dumps({"rows": rows, "count": len(rows)}, indent=2).encode()


def _csv(number: int) -> bytes:
    rows = _table(number)
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    return "\n".join(lines).encode()


def _xml(number: int) -> bytes:
    rows = [" ".join(f'{key}="{value}"' for key, value in row.items()) for row in _table(number)]
    items = "".join(f"  <row {row}/>\n" for row in rows)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<rows>\n{items}</rows>\n'.encode()


def _html(number: int) -> bytes:
    cells = ["</td><td>".join(map(str, row.values())) for row in _table(number)]
    rows = "".join(f"<tr><td>{row}</td></tr>\n" for row in cells)
    style = "<style>td { padding: 4px; color: #333 }</style>"
    head = f"<!DOCTYPE html>\n<html>\n<head><title>Prices</title>{style}</head>\n<body>\n"
    return f"{head}<h1>Prices</h1>\n<table>\n{rows}</table>\n</body>\n</html>\n".encode()


def _ini(number: int) -> bytes:
    sections = enumerate(_table(number))
    return "\n".join(
        f"[section{i}]\n" + "".join(f"{key} = {value}\n" for key, value in row.items())
        for i, row in sections
    ).encode()


def _bytecode(number: int) -> bytes:
    code = compile(_source(number), f"module{number}.py", "exec")
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)


def _header(number: int) -> bytes:
    paths = sorted(Path(sysconfig.get_path("include")).glob("*.h"))
    found = [path.read_bytes() for path in paths if path.stat().st_size > 1000]
    return found[number % len(found)] if found else _source(number)


def _picture(kind: str) -> Callable[[int], bytes]:
    def make(number: int) -> bytes:
        generator = np.random.default_rng(number)
        small = generator.integers(0, 256, (6, 8, 3), np.uint8)
        image = Image.fromarray(small).resize((200, 150), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        image.save(file, kind)
        return file.getvalue()

    return make


def _zip(number: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for i in range(3):
            entry = zipfile.ZipInfo(f"data/part{i}.csv", _SAVED)
            archive.writestr(entry, _csv(number + i), zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _tar(number: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for i in range(3):
            content = _csv(number + i)
            info = tarfile.TarInfo(f"data/part{i}.csv")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _npy(number: int) -> bytes:
    file = io.BytesIO()
    np.save(file, np.random.default_rng(number).normal(size=(40, 30)).astype(np.float32))
    return file.getvalue()


_MAKERS: dict[str, Callable[[int], bytes]] = {
    "python": _source,
    "json": _json,
    "png": _picture("PNG"),
    "zip": _zip,
    "html": _html,
    "gzip": lambda number: gzip.compress(_source(number), mtime=0),
    "c": _header,
    "csv": _csv,
    "jpeg": _picture("JPEG"),
    "pythonbytecode": _bytecode,
    "xml": _xml,
    "bzip": lambda number: bz2.compress(_source(number)),
    "gif": _picture("GIF"),
    "ini": _ini,
    "xz": lambda number: lzma.compress(_source(number)),
    "bmp": _picture("BMP"),
    "tar": _tar,
    "npy": _npy,
    "webp": _picture("WEBP"),
    "tiff": _picture("TIFF"),
}
