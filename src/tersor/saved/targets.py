"""The functions that a graph in a file may call: PyTorch's own on tensors and sizes, and Tersor's.

They are found by name in tables. No module is imported for a name, and no attribute of one is read.
"""

import math
import operator
import re
from typing import Any

import torch
from torch._ops import OpOverload

from tersor.errors import UnsupportedError
from tersor.graph.carried import CARRIED

_OP = re.compile(r"(aten|prims|torchvision|tersor)\.(\w+)\.(\w+)", re.ASCII)
_OWN = {str(CARRIED): CARRIED}
_TOUCHES_FILES = "from_file"
_ON_NUMBERS = (
    *("getitem", "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "neg", "pos", "abs"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "xor", "not_", "invert"),
)
_ROUNDINGS = ("trunc", "floor", "ceil", "sqrt")
_ON_SIZES = ("sym_int", "sym_float", "sym_max", "sym_min", "sym_not", "sym_ite", "sym_sum")
_FUNCTIONS: dict[str, Any] = {
    **{f"operator.{name}": getattr(operator, name) for name in _ON_NUMBERS},
    **{f"math.{name}": getattr(math, name) for name in _ROUNDINGS},
    **{f"torch.{name}": getattr(torch, name) for name in _ON_SIZES if hasattr(torch, name)},
}
_NAMES = {function: name for name, function in _FUNCTIONS.items()}


def target_name(target: object) -> str:
    """The name of a function in a file.

    Args:
        target: What a node of a graph calls.

    Raises:
        UnsupportedError: Files cannot name it.
    """
    name = str(target) if isinstance(target, OpOverload) else _NAMES.get(target, repr(target))
    if not (name in _FUNCTIONS or _is_allowed(name)):
        raise UnsupportedError(
            f"the network calls {name[:80]!r}, which is none of PyTorch's own operators on "
            "tensors, so it cannot be saved; keep the float model and how this was made"
        )
    return name


def find_target(name: object) -> Any:
    """The function with a name.

    Args:
        name: The name that a file gives.

    Raises:
        ValueError: It is no name of a function that files may call.
    """
    if isinstance(name, str):
        if name in _FUNCTIONS:
            return _FUNCTIONS[name]
        if name in _OWN:
            return _OWN[name]
        if _is_allowed(name):
            return _operator(name)
    raise ValueError(f"it calls {repr(name)[:80]}, which is none of PyTorch's own operators")


def _is_allowed(name: str) -> bool:
    found = _OP.fullmatch(name)
    is_ours = found is not None and found[1] == "tersor"
    return found is not None and found[2] != _TOUCHES_FILES and (name in _OWN or not is_ours)


def _operator(name: str) -> OpOverload:
    space, packet, overload = name.split(".")
    found = getattr(getattr(getattr(torch.ops, space), packet, None), overload, None)
    if not isinstance(found, OpOverload):
        raise ValueError(
            f"it calls {name[:80]!r}, which this PyTorch ({torch.__version__}) does not have"
            + (": import torchvision first" if space == "torchvision" else "")
        )
    return found
