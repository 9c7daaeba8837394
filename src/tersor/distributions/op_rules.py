"""Rules for each op: one table, and one small function per kind of op."""

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from tersor.core.response import expected_response, response_interval, response_variance
from tersor.distributions.coverage import tap_coverage
from tersor.distributions.distribution import (
    Distribution,
    add,
    gaussian,
    multiply,
    of_constant,
    subtract,
)
from tersor.distributions.layout_rules import (
    AVERAGES,
    MOVES,
    attend,
    getitem,
    move,
    pad,
    reduce,
    spatial,
)
from tersor.distributions.pointwise import Pointwise
from tersor.distributions.walk import Layout, Walk
from tersor.graph.attention import MIXING
from tersor.graph.layers import Layer
from tersor.graph.nodes import argument, call, operand
from tersor.graph.ops import BINARY, DROPOUTS, POOLS, UNARY, WEIGHTED

aten = torch.ops.aten
INDEPENDENT = {aten.add.Tensor: add, aten.sub.Tensor: subtract, aten.mul.Tensor: multiply}
COPIES = DROPOUTS | {aten.to.dtype}

DistributionRule = Callable[[Walk, fx.Node], Any]


def visit(walk: Walk, node: fx.Node) -> Any:
    """The distribution of a node's value; a tensor if it is constant; None if unknown."""
    known = [walk.value(arg) for arg in node.all_input_nodes]
    if known and all(isinstance(value, Tensor) for value in known):
        return call(node, map_arg(node.args, walk.value), map_arg(node.kwargs, walk.value))
    notes, rule = walk.network.statistics.get(node.name), RULES.get(node.target)
    if notes is not None and node.target not in WEIGHTED:
        return gaussian(notes.mean, notes.std**2, 1, walk.sigmas)
    result = None if rule is None else rule(walk, node)
    if isinstance(result, Distribution) and not result.is_finite:
        return None
    guess = _is_guess(walk, node, known)
    return pytree.tree_map(lambda part: _mark(part, guess), result)


def _is_guess(walk: Walk, node: fx.Node, known: list[Any]) -> bool:
    """True if a value depends on a layer without statistics, or is the output of one."""
    if node.name in walk.network.statistics or node.target in GIVEN:
        return False
    return node.target in GUESSED or any(
        part.guess for part in pytree.tree_leaves(known) if isinstance(part, Distribution | Layout)
    )


def _mark(part: Any, guess: bool) -> Any:
    if isinstance(part, Layout):
        return replace(part, channels=_mark(part.channels, guess))
    return replace(part, guess=guess) if isinstance(part, Distribution) else part


def _layer(walk: Walk, node: fx.Node) -> Distribution | None:
    """E[y] = W E[x] + b and Var[y] = W² Var[x], unless BatchNorm statistics are available."""
    layer, x = Layer(node, walk.network), walk.of(node.args[0])
    axis = layer.channel_axis % len(walk.shapes[node])
    notes = walk.network.statistics.get(node.name)
    if x is None or x.axis != axis or layer.computed:
        return None if notes is None else gaussian(notes.mean, notes.std**2, axis, walk.sigmas)
    weight, coverage = layer.grouped_weight(), tap_coverage(layer, walk.shape(layer.input))
    bias = 0.0 if layer.bias is None else layer.bias.detach()
    low, high = response_interval(weight, x.low, x.high, coverage)
    if notes is not None:
        mean, var = notes.mean, notes.std**2
    else:
        mean = expected_response(weight, x.mean, coverage) + bias
        var = response_variance(weight, x.var, coverage)
    return gaussian(mean, var, axis, walk.sigmas, (low + bias, high + bias))


def _unary(walk: Walk, node: fx.Node) -> Distribution | None:
    if any(isinstance(arg, fx.Node) for arg in node.args[1:]):
        return None
    return _express(walk, node, walk.expression(operand(node)).then(node))


def _express(walk: Walk, node: fx.Node, expression: Pointwise) -> Distribution | None:
    root = walk.of(expression.root)
    if root is None:
        return None
    walk.expressions[node] = expression
    return expression.of(root)


def _binary(walk: Walk, node: fx.Node) -> Distribution | None:
    """A function of one root if both sides share it or one is constant; else independent values."""
    shape, args = walk.shapes[node], node.args[:2]
    axes = {x.axis - len(walk.shape(arg)) for arg in args if (x := walk.of(arg))}
    if len(axes) != 1:
        return None
    axis = axes.pop() + len(shape)
    sides = [_side(walk, node, arg, axis) for arg in args]
    if any(side is None for side in sides):
        return None
    expressions = [side for side in sides if isinstance(side, Pointwise)]
    if not any(isinstance(side, Distribution) for side in sides):
        root = walk.of(expressions[0].root)
        same_root = len({side.root for side in expressions}) == 1
        if same_root and root is not None and len(root.mean) == shape[axis]:
            return _express(walk, node, expressions[0].combine(node, *sides))
    if node.target not in INDEPENDENT or node.kwargs:
        return None
    x, y = (_spread(walk, arg, shape, axis) for arg in args)
    combine: Callable[..., Distribution] = INDEPENDENT[node.target]  # type: ignore[index]
    return combine(x, y, walk.sigmas)


def _side(walk: Walk, node: fx.Node, arg: Any, axis: int) -> Any:
    """An operand: an expression, a constant per channel, a number, or a varying constant."""
    value = walk.value(arg)
    if isinstance(value, Distribution):
        return walk.expression(arg) if value.is_finite else None
    if not isinstance(value, Tensor):
        return value if isinstance(value, int | float) else None
    if node.target is aten.prelu.default:
        return value.detach() if len(value) in (1, walk.shapes[node][axis]) else None
    constant = of_constant(value.detach(), walk.shapes[node], axis)
    return constant.mean if constant.is_constant else constant


def _spread(walk: Walk, arg: Any, shape: torch.Size, axis: int) -> Distribution:
    """An operand of independent values, broadcast to all channels of the result."""
    known = walk.of(arg)
    if known is not None:
        return known.expand(shape[axis], axis)
    return of_constant(torch.as_tensor(walk.value(arg)).detach(), shape, axis)


def _copy(walk: Walk, node: fx.Node) -> Distribution | None:
    return _express(walk, node, walk.expression(operand(node)))


def _normalized(walk: Walk, node: fx.Node, axis: int) -> Distribution | None:
    """A normalization with weight γ and bias β: values near N(β, γ²)."""
    zero = walk.zeros(walk.shapes[node][axis])
    mean, std = (
        otherwise if edge is None else walk.value(edge)
        for edge, otherwise in (
            (argument(node, "bias"), zero),
            (argument(node, "weight"), zero + 1),
        )
    )
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
        return None  # computed from the input
    return gaussian(mean.detach(), std.detach() ** 2, axis, walk.sigmas)


def _channel_norm(walk: Walk, node: fx.Node) -> Distribution | None:
    return _normalized(walk, node, 1)


def _layer_norm(walk: Walk, node: fx.Node) -> Distribution | None:
    """LayerNorm: unit variance over the channels of a position, assumed for each channel, too."""
    last = len(walk.shapes[node]) - 1
    return _normalized(walk, node, last) if len(argument(node, "normalized_shape")) == 1 else None


def _softmax(walk: Walk, node: fx.Node) -> Distribution:
    """Softmax: values have mean 1 / n, and at most the variance of a 0-1 variable."""
    shape, x = walk.shapes[node], walk.of(node.args[0])
    axis = len(shape) - 1 if x is None else x.axis
    zero = walk.zeros(shape[axis])
    mean = zero + 1 / shape[argument(node, "dim")]
    return Distribution(mean, mean - mean**2, zero, zero + 1, axis)


def _embedding(walk: Walk, node: fx.Node) -> Distribution | None:
    """Embedding: all rows of the table are equally likely."""
    table, axis = walk.value(node.args[0]), len(walk.shapes[node]) - 1
    return of_constant(table.detach(), table.shape, 1).expand(table.shape[1], axis)


# Known for any input.
GIVEN = {
    aten.batch_norm.default,
    aten.embedding.default,
    aten.instance_norm.default,
    aten.softmax.int,
}
# Never known for certain, except from the statistics of a BatchNorm.
GUESSED = {*WEIGHTED, aten.group_norm.default, aten.layer_norm.default}
RULES: dict[Any, DistributionRule] = {
    **dict.fromkeys(WEIGHTED, _layer),
    **dict.fromkeys(MIXING, attend),
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(COPIES, _copy),
    **dict.fromkeys(MOVES, move),
    **dict.fromkeys(set(POOLS) - {aten.upsample_bicubic2d.vec}, spatial),  # bicubic overshoots
    **dict.fromkeys(AVERAGES, reduce),
    operator.getitem: getitem,
    aten.pad.default: pad,
    aten.constant_pad_nd.default: pad,
    aten.batch_norm.default: _channel_norm,
    aten.group_norm.default: _channel_norm,
    aten.instance_norm.default: _channel_norm,
    aten.layer_norm.default: _layer_norm,
    aten.softmax.int: _softmax,
    aten.embedding.default: _embedding,
}
