"""Scores that softmax reads: when rounding them costs more than it saves.

softmax weighs by e^score, so half a step of rounding changes a weight by the factor e^(step / 2).
Attention that masks with −100 has scores of a range that leaves steps of 0.4: a fifth of every
weight. Such scores stay in floating point.
"""

from torch import Tensor, fx, ops

from tersor.core.grid import Grid
from tersor.quant.scheme import PASS_THROUGH

aten = ops.aten

_SOFTMAX = {aten.softmax.int, aten._softmax.default}
_ON_THE_WAY = PASS_THROUGH | {aten.add.Tensor, aten.masked_fill.Scalar, aten.where.self}

#: Largest step of scores: weights are off by 13 % at most.
LARGEST_STEP = 0.25


def too_coarse(value: fx.Node, low: Tensor, high: Tensor, grid: Grid) -> str | None:
    """The reason to leave a value in floating point, if it holds scores of too wide a range.

    Args:
        value: The value.
        low: Its smallest number.
        high: Its largest number.
        grid: The grid that it would be rounded to.
    """
    step = float((high - low).max()) / (grid.qmax - grid.qmin)
    if step <= LARGEST_STEP or not _leads_to_softmax(value):
        return None
    return (
        f"softmax reads it, and a range as wide as that of a mask ({float(low.min()):.3g} to "
        f"{float(high.max()):.3g}) leaves steps of {step:.2g}; it stays in floating point"
    )


def _leads_to_softmax(value: fx.Node) -> bool:
    """Do all readers end in softmax?"""
    return bool(value.users) and all(
        user.target in _SOFTMAX
        or ((user.op == "call_module" or user.target in _ON_THE_WAY) and _leads_to_softmax(user))
        for user in value.users
    )
