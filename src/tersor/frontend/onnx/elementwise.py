"""Arithmetic, comparison and logic, element by element."""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor

from tersor.frontend.division import divide_whole
from tersor.frontend.onnx.dtypes import torch_dtype
from tersor.frontend.onnx.node import Node, Op

_WIDE = {torch.uint16, torch.uint32, torch.uint64}  # PyTorch lacks most ops in these types


def _widened(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that it computes in int64 if PyTorch lacks it in the input's type."""

    def run(*inputs: Any) -> Any:
        odd = next((x.dtype for x in inputs if isinstance(x, Tensor) and x.dtype in _WIDE), None)
        if odd is None:
            return function(*inputs)
        y = function(*(x.to(torch.int64) if isinstance(x, Tensor) else x for x in inputs))
        return y if y.dtype == torch.bool else y.to(odd)

    return run


def _plain(function: Callable[..., Any]) -> Op:
    """An op without attributes that PyTorch computes in the same way, also with a number second."""
    return Op(lambda _, *inputs: _widened(function)(*inputs), numbers=(1,))


def _only(function: Callable[[Tensor], Tensor]) -> Op:
    """An op with one input, without attributes, that PyTorch computes in the same way."""
    return Op(lambda _, x: _widened(function)(x))


def _fold(function: Callable[[Any, Any], Any]) -> Op:
    """A commutative op with any number of inputs; PyTorch takes numbers behind a tensor only."""
    fold = partial(reduce, _widened(function))
    return Op(lambda _, *inputs: fold(sorted(inputs, key=_is_number)), numbers=(-1,))


def _is_number(x: Any) -> bool:
    return not isinstance(x, Tensor)


def _is_whole(x: Any) -> bool:
    return isinstance(x, int) or (isinstance(x, Tensor) and not x.is_floating_point())


def _divide(x: Any, y: Any) -> Tensor:
    if _is_whole(x) and _is_whole(y):
        return divide_whole(x, y)
    return x / y


def _mod(node: Node, x: Any, y: Any) -> Tensor:
    return _widened(torch.fmod if node.get("fmod", 0) else torch.remainder)(x, y)


def _power(_: Node, x: Tensor, y: Any) -> Tensor:
    if isinstance(y, Tensor) and x.is_floating_point() != y.is_floating_point():
        wide = torch.promote_types(x.dtype, y.dtype)
        return torch.pow(x.to(wide), y.to(wide)).to(x.dtype)
    return torch.pow(x, y).to(x.dtype)


def _extreme(of_tensors: Callable[..., Any], of_numbers: str) -> Callable[..., Any]:
    def extreme(x: Any, y: Any) -> Any:
        if isinstance(x, Tensor) and isinstance(y, Tensor):
            return of_tensors(x, y)
        tensor, number = (x, y) if isinstance(x, Tensor) else (y, x)
        return torch.clamp(tensor, **{of_numbers: number})

    return extreme


def _where(_: Node, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.where(condition, x, y)


def _mean(_: Node, *inputs: Tensor) -> Tensor:
    return reduce(torch.add, inputs) / len(inputs)


def _clip(node: Node, x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    low, high = node.get("min", low), node.get("max", high)
    if low is None and high is None:
        return x
    if isinstance(low, Tensor) != isinstance(high, Tensor):
        low = low if low is None or isinstance(low, Tensor) else torch.full_like(x, low)
        high = high if high is None or isinstance(high, Tensor) else torch.full_like(x, high)
    return torch.clamp(x, low, high)


def _cast(node: Node, x: Tensor) -> Tensor:
    dtype = torch_dtype(node.get("to", 0))
    if dtype is None:
        raise node.refuse(f"casts to ONNX type {node.get('to')}, which PyTorch does not have")
    return x.to(dtype)


def _cast_like(_: Node, x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype)


def _is_inf(node: Node, x: Tensor) -> Tensor:
    negative, positive = node.get("detect_negative", 1), node.get("detect_positive", 1)
    found = torch.isposinf(x) if positive else torch.zeros_like(x, dtype=torch.bool)
    return found | torch.isneginf(x) if negative else found


def _shift(node: Node, x: Tensor, y: Tensor) -> Tensor:
    # PyTorch shifts signed integers only.
    wide, by = x.to(torch.int64), y.to(torch.int64)
    shifted = wide << by if node.get("direction") == "LEFT" else wide >> by
    return shifted.to(x.dtype)


OPS = {
    "Add": _fold(torch.add),
    "Sub": _plain(torch.sub),
    "Mul": _fold(torch.mul),
    "Div": _plain(_divide),
    "Mod": Op(_mod, numbers=(1,)),
    "Pow": Op(_power, numbers=(1,)),
    "Sum": _fold(torch.add),
    "Mean": Op(_mean),
    "Max": _fold(_extreme(torch.maximum, "min")),
    "Min": _fold(_extreme(torch.minimum, "max")),
    "Clip": Op(_clip, numbers=(1, 2)),
    "Where": Op(_where),
    "Equal": _fold(torch.eq),
    "Greater": _plain(torch.gt),
    "GreaterOrEqual": _plain(torch.ge),
    "Less": _plain(torch.lt),
    "LessOrEqual": _plain(torch.le),
    "And": Op(lambda _, x, y: torch.logical_and(x, y)),
    "Or": Op(lambda _, x, y: torch.logical_or(x, y)),
    "Xor": Op(lambda _, x, y: torch.logical_xor(x, y)),
    "Not": _only(torch.logical_not),
    "BitwiseAnd": Op(lambda _, x, y: torch.bitwise_and(x, y)),
    "BitwiseOr": Op(lambda _, x, y: torch.bitwise_or(x, y)),
    "BitwiseXor": Op(lambda _, x, y: torch.bitwise_xor(x, y)),
    "BitwiseNot": _only(torch.bitwise_not),
    "BitShift": Op(_shift),
    "Abs": _only(torch.abs),
    "Neg": _only(torch.neg),
    "Sign": _only(torch.sign),
    "Reciprocal": _only(torch.reciprocal),
    "Sqrt": _only(torch.sqrt),
    "Exp": _only(torch.exp),
    "Log": _only(torch.log),
    "Floor": _only(torch.floor),
    "Ceil": _only(torch.ceil),
    "Round": _only(torch.round),
    "Sin": _only(torch.sin),
    "Cos": _only(torch.cos),
    "Tan": _only(torch.tan),
    "Asin": _only(torch.asin),
    "Acos": _only(torch.acos),
    "Atan": _only(torch.atan),
    "Sinh": _only(torch.sinh),
    "Cosh": _only(torch.cosh),
    "Asinh": _only(torch.asinh),
    "Acosh": _only(torch.acosh),
    "Atanh": _only(torch.atanh),
    "Erf": _only(torch.erf),
    "IsNaN": _only(torch.isnan),
    "IsInf": Op(_is_inf),
    "Cast": Op(_cast),
    "CastLike": Op(_cast_like),
    "Identity": Op(lambda _, x: x),
}
