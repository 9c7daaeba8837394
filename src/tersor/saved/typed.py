"""Dataclasses as JSON and back: the annotations say what a file may hold, and nothing else passes.

Numbers that JSON does not have are words (`"inf"`), and ops stand as their names.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tersor.saved.targets import find_target, target_name

T = TypeVar("T")

#: The only words that stand for numbers.
WORDS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_LARGEST = 1 << 63


def as_json(value: object) -> Any:
    """Convert plain data and dataclasses to what JSON has.

    Args:
        value: The value.

    Raises:
        UnsupportedError: An op has no name in a file.
        TypeError: There is something else in it.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: as_json(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(x if isinstance(x, str) else target_name(x) for x in value)
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    raise TypeError(f"a {type(value).__name__} is no plain data")


def from_json(content: Any, kind: type[T], where: str) -> T:
    """Convert what JSON held back to a dataclass.

    Args:
        content: The content.
        kind: The dataclass.
        where: Where it stood, for messages.

    Raises:
        ValueError: Something is missing, unknown or of another type; says what and where.
    """
    if not isinstance(content, dict):
        raise _refusal(content, where)
    hints = _hints(kind)
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}  # type: ignore[arg-type]
    if missing := sorted(needed - content.keys()):
        raise ValueError(f"{where} has no {missing[0]!r}")
    if unknown := sorted(content.keys() - hints.keys()):
        raise ValueError(f"{where} has {unknown[0][:40]!r}, which is unknown")
    return kind(**{k: _value(x, hints[k], f"{where}.{k}") for k, x in content.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    found = get_type_hints(kind)
    return {item.name: found[item.name] for item in fields(kind)}  # type: ignore[arg-type]


def _value(content: Any, hint: Any, where: str) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return content
    if origin in (Union, UnionType):
        return _one_of(content, parts, where)
    if origin is Literal:
        if isinstance(content, str | int) and content in parts:
            return content
        raise _refusal(content, where)
    if is_dataclass(hint):
        return from_json(content, hint, where)  # type: ignore[arg-type]
    if origin is not None:
        return _several(content, origin, parts, where)
    return _single(content, hint, where)


def _one_of(content: Any, parts: tuple[Any, ...], where: str) -> Any:
    """The first alternative that fits; of several dataclasses, the one with these fields."""
    if content is None and NoneType in parts:
        return None
    others = [part for part in parts if part is not NoneType]
    same = [p for p in others if is_dataclass(p) and _has_fields(content, p)]
    for part in same or others:
        try:
            return _value(content, part, where)
        except ValueError:
            if len(same) == 1 or len(others) == 1:
                raise
    raise _refusal(content, where)


def _has_fields(content: Any, kind: Any) -> bool:
    return isinstance(content, dict) and content.keys() == _hints(kind).keys()


def _several(content: Any, origin: Any, parts: tuple[Any, ...], where: str) -> Any:
    if issubclass(origin, Mapping):
        if not isinstance(content, dict):
            raise _refusal(content, where)
        return {
            _key(key, parts[0], where): _value(item, parts[1], f"{where}[{key[:40]!r}]")
            for key, item in content.items()
        }
    if not isinstance(content, list):
        raise _refusal(content, where)
    if issubclass(origin, frozenset):
        is_op = parts[0] is object
        return frozenset(find_target(x) if is_op else _single(x, parts[0], where) for x in content)
    if origin is tuple and parts[-1] is not Ellipsis:
        if len(parts) != len(content):
            raise _refusal(content, where)
        pairs = zip(content, parts, strict=True)
        return tuple(_value(item, part, where) for item, part in pairs)
    found = [_value(item, parts[0], f"{where}[{i}]") for i, item in enumerate(content)]
    return tuple(found) if origin is tuple else found


def _key(key: str, hint: Any, where: str) -> int | str:
    if hint is str:
        return key
    if len(key) < 20 and key.removeprefix("-").isdecimal():
        return int(key)
    raise _refusal(key, where)


def _single(content: Any, hint: Any, where: str) -> Any:
    if hint is float:
        if isinstance(content, str) and content in WORDS:
            return WORDS[content]
        if type(content) is float or (type(content) is int and abs(content) < _LARGEST):
            return content
    elif type(content) is hint and not (hint is int and abs(content) >= _LARGEST):
        return content
    raise _refusal(content, where)


def _refusal(content: Any, where: str) -> ValueError:
    shown = " ".join(repr(content)[:80].split())
    return ValueError(f"{where} is {shown}")
