"""Chooses one of the four configurations of LSQ+ for an activation, by the op that computes it.

    1  unsigned, symmetric    after ReLU and the like: no value is negative
    2  signed, symmetric      if the target has no zero point
    3  signed, asymmetric     after SiLU, hard-swish, GELU, Mish, LeakyReLU, a layer or a sum:
    4  unsigned, asymmetric   its negative values, more or fewer, are worth a part of the grid

LSQ+, arXiv 2004.09576, §3.1. Configurations 3 and 4 can represent the same values. They differ in
the value that stays in place when the step changes: one in the middle, or the smallest.
"""

from dataclasses import replace
from typing import Literal

import torch
from torch import fx

from tersor.core.grid import Grid
from tersor.graph.nodes import source
from tersor.graph.ops import MOVEMENT, POOLS, clip_bounds

aten = torch.ops.aten

Configuration = Literal[1, 2, 3, 4]
Sign = Literal["positive", "bounded", "signed"]

#: Configuration → signed, symmetric.
_GRIDS: dict[int, tuple[bool, bool]] = {
    1: (False, True),
    2: (True, True),
    3: (True, False),
    4: (False, False),
}
_POSITIVE = {
    aten.sigmoid.default,
    aten.hardsigmoid.default,
    aten.softmax.int,
    aten.exp.default,
    aten.abs.default,
    aten.square.default,
    aten.softplus.default,
}
_BOUNDED = {
    aten.silu.default,
    aten.hardswish.default,
    aten.gelu.default,
    aten.mish.default,
    aten.leaky_relu.default,
    aten.elu.default,
    aten.celu.default,
    aten.selu.default,
}
_SAME = MOVEMENT | set(POOLS) | {aten.dropout.default, aten.mean.dim, aten.constant_pad_nd.default}
_OF_BOTH = {aten.add.Tensor, aten.maximum.default, aten.cat.default, aten.mul.Tensor}
_ORDER: tuple[Sign, ...] = ("positive", "bounded", "signed")


def configured(value: fx.Node, grid: Grid, wanted: Configuration | Literal["auto"]) -> Grid:
    """Choose the grid that an activation is trained on.

    Args:
        value: The node that computes the activation.
        grid: The grid of the target; a symmetric one is not changed.
        wanted: The configuration of every activation, or `"auto"`. Signed values, such as images
            and the outputs of layers, get configuration 2 instead of 1.
    """
    if grid.symmetric:
        return grid
    kind = sign(value)
    number = (1 if kind == "positive" else 4) if wanted == "auto" else wanted
    if number == 1 and kind == "signed":
        number = 2
    signed, symmetric = _GRIDS[number]
    return replace(grid, signed=signed, symmetric=symmetric)


def sign(value: fx.Node) -> Sign:
    """Classify a value: never negative, hardly ever far below 0, or of either sign.

    Args:
        value: A node of a captured network.
    """
    found: dict[fx.Node, Sign] = {}
    pending = [value]
    while pending:  # not recursive: networks are deep
        node = pending[-1]
        missing = [arg for arg in _decisive(node) if arg not in found]
        if missing:
            pending += missing
            continue
        found[node] = _sign(node, found)
        pending.pop()
    return found[value]


def _decisive(node: fx.Node) -> list[fx.Node]:
    """The operands that determine the sign of a value."""
    if node.target in _SAME | _OF_BOTH and not _is_gated(node):
        return [source(arg) for arg in node.all_input_nodes]
    return []


def _sign(node: fx.Node, found: dict[fx.Node, Sign]) -> Sign:
    bounds = clip_bounds(node)
    if node.target in _POSITIVE or (bounds is not None and bounds[0] >= 0):
        return "positive"
    if node.target in _BOUNDED or _is_gated(node):
        return "bounded"
    decisive = _decisive(node)
    if not decisive:
        return "signed"
    return _ORDER[max(_ORDER.index(found[arg]) for arg in decisive)]


def _is_gated(node: fx.Node) -> bool:
    """Whether a value is x · sigmoid(x) or x · hardsigmoid(x), written as two ops."""
    if node.target is not aten.mul.Tensor:
        return False
    first, second = ([source(a) if isinstance(a, fx.Node) else None for a in node.args] * 2)[:2]
    return any(
        gate is not None
        and gate.target in (aten.sigmoid.default, aten.hardsigmoid.default)
        and source(gate.all_input_nodes[0]) is x
        for gate, x in ((first, second), (second, first))
    )
