"""Describes values and functions by what they do, the same in every process.

A function is its code, its defaults, and the values that it takes from around it. Functions and
classes of installed packages are told by their names. What has neither code nor values that Python
can see, such as a function of a compiled module of the user's, cannot be told.
"""

import re
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum
from functools import partial
from hashlib import sha256
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
_SHOWN = (PurePath, Enum, torch.dtype, torch.device, np.dtype, np.generic, range, slice, re.Pattern)
_COMPILED = (torch.jit.ScriptFunction, torch.jit.ScriptModule)
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


class Seen(dict[int, tuple[Any, Any]]):
    """The id of a value → the value, which it keeps, and its text.

    Attributes:
        untold: What cannot be told from something else of its kind.
    """

    def __init__(self) -> None:
        super().__init__()
        self.untold: list[str] = []


def described(value: Any) -> str:
    """Describe a value.

    Args:
        value: Plain data, tensors, functions, modules and objects, in any structure.
    """
    return repr(_described(value, Seen()))


def untold(value: Any) -> list[str]:
    """Names of what a value holds that cannot be told from something else of its kind.

    Args:
        value: See `described`.
    """
    seen = Seen()
    _described(value, seen)
    return seen.untold


def hash_tensor(digest: Any, tensor: Tensor) -> None:
    """Add the type, shape and values of a tensor to a hash of `hashlib`."""
    digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())


def _described(value: Any, seen: Seen) -> Any:
    if isinstance(value, _PLAIN + _SHOWN):
        return repr(value)
    if id(value) not in seen:
        seen[id(value)] = value, "a value around this one"
        describe = next((x for kinds, x in _KINDS if isinstance(value, kinds)), _object)
        text = repr(describe(value, seen))  # shortened, since it may be part of many others
        seen[id(value)] = value, sha256(text.encode(errors="replace")).hexdigest()
    return seen[id(value)][1]


def _each(values: Any, seen: Seen) -> list[Any]:
    return [_described(value, seen) for value in values]


def _mapping(values: Mapping[Any, Any], seen: Seen) -> Any:
    return [(_described(key, seen), _described(value, seen)) for key, value in values.items()]


def _set(values: Any, seen: Seen) -> Any:
    return sorted(repr(_described(value, seen)) for value in values)


def _tensor(value: Tensor, _: Seen) -> Any:
    digest = sha256()
    hash_tensor(digest, value)
    return digest.hexdigest()


def _array(value: np.ndarray, seen: Seen) -> Any:
    if value.dtype == object:
        return _each(value.tolist(), seen)
    return str(value.dtype), value.shape, sha256(value.tobytes()).hexdigest()


def _partial(value: partial[Any], seen: Seen) -> Any:
    return _each((value.func, value.args, value.keywords), seen)


def _method(value: MethodType, seen: Seen) -> Any:
    return _each((value.__func__, value.__self__), seen)


def _name(value: Any, _: Seen) -> Any:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}"


def _builtin(value: BuiltinFunctionType, seen: Seen) -> Any:
    name = _name(value, seen)
    owner = getattr(value, "__self__", None)
    if isinstance(owner, ModuleType) and not _is_library(owner.__name__):
        seen.untold.append(name)
    return name if owner is None or isinstance(owner, ModuleType) else [name, *_each([owner], seen)]


def _module(value: ModuleType, _: Seen) -> Any:
    return value.__name__


def _code(value: CodeType, seen: Seen) -> Any:
    return value.co_code, value.co_names, _each(value.co_consts, seen)


def _function(value: FunctionType, seen: Seen) -> Any:
    if _is_ours(value.__module__) or _is_installed(value.__code__.co_filename):
        return _name(value, seen)
    cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
    parts = value.__code__, value.__defaults__, value.__kwdefaults__, cells, _globals(value)
    return _each(parts, seen)


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _globals(value: FunctionType) -> dict[str, Any]:
    """What a function reads by name: values of its module, and what it takes from modules."""
    names = _names(value.__code__)
    found = {name: value.__globals__[name] for name in names if name in value.__globals__}
    for name, module in list(found.items()):
        if isinstance(module, ModuleType) and not _is_library(module.__name__):
            found |= {f"{name}.{x}": getattr(module, x) for x in names if hasattr(module, x)}
    return found


def _names(code: CodeType) -> list[str]:
    """The names that code and the functions inside it use."""
    inside = [const for const in code.co_consts if isinstance(const, CodeType)]
    return sorted({*code.co_names, *(name for part in inside for name in _names(part))})


def _class(value: type, seen: Seen) -> Any:
    if _is_ours(value.__module__) or _is_library(value.__module__):
        return _name(value, seen)
    own = {n: x for n, x in vars(value).items() if isinstance(x, (FunctionType, *_PLAIN))}
    own = {n: x for n, x in own.items() if n not in ("__module__", "__firstlineno__")}
    return _name(value, seen), _mapping(own, seen), _each(value.__bases__, seen)


def _object(value: Any, seen: Seen) -> Any:
    if hasattr(value, "__wrapped__"):
        return _described(value.__wrapped__, seen)
    kind, held = type(value), getattr(value, "__dict__", {})
    if is_dataclass(value):
        return kind.__qualname__, _mapping(held, seen)
    is_open = isinstance(value, nn.Module) or _is_ours(kind.__module__)
    if (is_open or not _is_library(kind.__module__)) and not isinstance(value, _COMPILED):
        if not held and not _is_python(kind):
            seen.untold.append(_name(kind, seen))
        return _described(kind, seen), _mapping(held, seen)
    shown = re.sub(r" at 0x[0-9a-f]+", "", repr(value))
    if shown != repr(value) or isinstance(value, _COMPILED):
        seen.untold.append(_name(kind, seen))
    return _name(kind, seen), shown


def _is_python(kind: type) -> bool:
    """Whether a class is written in Python, so that its functions have code."""
    own = [vars(parent) for parent in kind.__mro__[:-1]]
    return any({"__weakref__", "__slots__"} & parent.keys() for parent in own)


def _is_ours(module: str | None) -> bool:
    """Whether a module is part of Tersor, whose version tells it."""
    return str(module).partition(".")[0] == __name__.partition(".")[0]


def _is_library(module: str) -> bool:
    """Whether a module belongs to Python or to an installed package."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return module != "__main__" if file is None else _is_installed(file)


def _is_installed(file: str) -> bool:
    return file.startswith((*_INSTALLED, "<frozen"))


_KINDS: tuple[tuple[Any, Any], ...] = (
    (Tensor, _tensor),
    (np.ndarray, _array),
    (Mapping, _mapping),
    ((set, frozenset), _set),
    ((list, tuple), _each),
    (type, _class),
    (partial, _partial),
    (MethodType, _method),
    (FunctionType, _function),
    (BuiltinFunctionType, _builtin),
    (ModuleType, _module),
    (CodeType, _code),
)
