"""The arguments of a call as JSON: lists, tuples, numbers, words, and what PyTorch adds to them.

An object with one key stands for what JSON does not have, such as `{"node": "conv2d"}`,
`{"tuple": [1, 2]}`, `{"dtype": "float32"}`, `{"float": "inf"}` and `{"slice": [null, 2, null]}`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from tersor.errors import UnsupportedError
from tersor.saved.typed import WORDS

_LARGEST = 1 << 63
_FORMATS = {
    str(x).removeprefix("torch."): x
    for x in (torch.contiguous_format, torch.preserve_format, torch.channels_last)
} | {"channels_last_3d": torch.channels_last_3d}
_DTYPES: dict[str, torch.dtype] = {
    str(x).removeprefix("torch."): x for x in vars(torch).values() if isinstance(x, torch.dtype)
}
_DEVICES = ("cpu", "cuda", "mps", "xpu", "meta")


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a dtype, such as `float32`."""
    return str(dtype).removeprefix("torch.")


def find_dtype(name: object) -> torch.dtype:
    """The dtype with a name.

    Raises:
        ValueError: There is none.
    """
    if not isinstance(name, str) or name not in _DTYPES:
        raise ValueError(f"{repr(name)[:40]} is no type of numbers")
    return _DTYPES[name]


def find_device(name: object) -> torch.device:
    """The device with a name, such as `cuda:0`.

    Raises:
        ValueError: There is none.
    """
    kind, _, number = name.partition(":") if isinstance(name, str) else ("", "", "")
    if kind not in _DEVICES or not (number == "" or (number.isdecimal() and len(number) < 3)):
        raise ValueError(f"{repr(name)[:40]} is no device")
    return torch.device(kind, int(number)) if number else torch.device(kind)


def write_argument(value: Any) -> Any:
    """Convert an argument of a call to JSON.

    Args:
        value: The argument; nodes stand as their names.

    Raises:
        UnsupportedError: It has no form in JSON.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    for kind, tag, convert in _TAGS:
        if isinstance(value, kind):
            return {tag: convert(value)}
    if isinstance(value, list):
        return [write_argument(item) for item in value]
    raise UnsupportedError(
        f"an argument of a call is a {type(value).__name__}, which a file cannot hold; keep the "
        "float model and the calls that made this result"
    )


def _items(value: Any) -> list[Any]:
    return [write_argument(item) for item in value]


_TAGS: tuple[tuple[type, str, Callable[[Any], Any]], ...] = (
    (fx.Node, "node", lambda x: x.name),
    (tuple, "tuple", _items),
    (slice, "slice", lambda x: _items((x.start, x.stop, x.step))),
    (torch.dtype, "dtype", dtype_name),
    (torch.device, "device", str),
    (torch.layout, "layout", lambda x: str(x).removeprefix("torch.")),
    (torch.memory_format, "memory_format", lambda x: str(x).removeprefix("torch.")),
)


def read_argument(content: Any, nodes: Mapping[str, fx.Node]) -> Any:
    """Convert an argument of a call back.

    Args:
        content: What `write_argument` returned.
        nodes: The nodes before the call.

    Raises:
        ValueError: It is no argument, or a node that does not stand before the call.
    """
    if isinstance(content, list):
        return [read_argument(item, nodes) for item in content]
    if isinstance(content, dict):
        ((tag, inner),) = content.items() if len(content) == 1 else [("", content)]
        if tag not in _READERS:
            raise ValueError(f"an argument is {repr(content)[:80]}")
        return _READERS[tag](inner, nodes)
    if isinstance(content, int) and abs(content) >= _LARGEST:
        raise ValueError("a number is too large")
    return content


Nodes = Mapping[str, fx.Node]


def _several(inner: Any, nodes: Nodes) -> tuple[Any, ...]:
    if not isinstance(inner, list):
        raise ValueError(f"an argument is a tuple of {repr(inner)[:40]}")
    return tuple(read_argument(item, nodes) for item in inner)


def _named(inner: Any, table: Mapping[str, Any], what: str) -> Any:
    if not isinstance(inner, str) or inner not in table:
        raise ValueError(f"a call reads {repr(inner)[:40]}, which is {what}")
    return table[inner]


_READERS: dict[str, Callable[[Any, Nodes], Any]] = {
    "node": lambda inner, nodes: _named(inner, nodes, "not computed before it"),
    "tuple": _several,
    "slice": lambda inner, nodes: slice(*_several(inner, nodes)[:3]),
    "float": lambda inner, _: _named(inner, WORDS, "no number"),
    "dtype": lambda inner, _: find_dtype(inner),
    "device": lambda inner, _: find_device(inner),
    "layout": lambda inner, _: _named(inner, {"strided": torch.strided}, "no known layout"),
    "memory_format": lambda inner, _: _named(inner, _FORMATS, "no known layout"),
}
