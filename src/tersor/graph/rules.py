"""How distributions pass through each op: one table, one small function per kind of op."""

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from tersor.core.response import expected_response, response_interval, response_variance
from tersor.graph.channels import MOVEMENT, SPATIAL
from tersor.graph.coverage import tap_coverage
from tersor.graph.distribution import (
    Distribution,
    add,
    dilute,
    gaussian,
    multiply,
    of_constant,
    subtract,
)
from tersor.graph.layers import WEIGHTED, Layer, argument
from tersor.graph.pointwise import BINARY, UNARY, Pointwise
from tersor.graph.walk import Layout, Walk

aten = torch.ops.aten
INDEPENDENT = {aten.add.Tensor: add, aten.sub.Tensor: subtract, aten.mul.Tensor: multiply}
PADDED_POOLS = {aten.avg_pool1d.default, aten.avg_pool2d.default, aten.avg_pool3d.default}
MOVES = {
    *MOVEMENT,
    aten.concat.default,
    aten.hstack.default,
    aten.index.Tensor,
    aten.index_select.default,
    aten.repeat.default,
    aten.tile.default,
}
REDUCTIONS = {aten.mean.dim, aten.amax.default, aten.amin.default}
COPIES = {aten.dropout.default, aten.feature_dropout.default, aten.to.dtype}


Rule = Callable[[Walk, fx.Node], Any]


def visit(walk: Walk, node: fx.Node) -> Any:
    """The distribution of a node's value; a tensor if it is constant; None if unknown."""
    known = [walk.value(arg) for arg in node.all_input_nodes]
    if known and all(isinstance(value, Tensor) for value in known):
        return _call(node, walk.value)
    rule = RULES.get(node.target)
    result = None if rule is None else rule(walk, node)
    if isinstance(result, Distribution) and not result.is_finite:
        return None
    guess = _is_guess(walk, node, known)
    return pytree.tree_map(lambda part: _mark(part, guess), result)


def _is_guess(walk: Walk, node: fx.Node, known: list[Any]) -> bool:
    """True if a value rests on a layer without statistics, or is the output of one."""
    if node.name in walk.network.statistics or node.target in GIVEN:
        return False
    return node.target in GUESSED or any(
        part.guess for part in pytree.tree_leaves(known) if isinstance(part, Distribution | Layout)
    )


def _mark(part: Any, guess: bool) -> Any:
    if isinstance(part, Layout):
        return replace(part, channels=_mark(part.channels, guess))
    return replace(part, guess=guess) if isinstance(part, Distribution) else part


def _call(node: fx.Node, value: Callable[[fx.Node], Any]) -> Any:
    """Run the op of a node on other values."""
    target: Callable[..., Any] = node.target  # type: ignore[assignment]
    return target(*map_arg(node.args, value), **map_arg(node.kwargs, value))


def _layer(walk: Walk, node: fx.Node) -> Distribution | None:
    """E[y] = W E[x] + b and Var[y] = W² Var[x], unless a BatchNorm knows better."""
    layer, x = Layer(node, walk.network), walk.of(node.args[0])
    axis = layer.channel_axis % len(walk.shapes[node])
    notes = walk.network.statistics.get(node.name)
    if x is None or x.axis != axis or layer.weight_node.op != "get_attr":
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
    return _express(walk, node, walk.expression(node.args[0]).then(node))  # type: ignore[arg-type]


def _express(walk: Walk, node: fx.Node, expression: Pointwise) -> Distribution | None:
    root = walk.of(expression.root)
    if root is None:
        return None
    walk.expressions[node] = expression
    return expression.of(root)


def _binary(walk: Walk, node: fx.Node) -> Distribution | None:
    """A function of one root if both sides share it or one is constant; else independent."""
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
        return value
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


def _move(walk: Walk, node: fx.Node) -> Any:
    """Reshape, transpose, slice, concatenate …: the op itself, run on channel labels."""
    inputs: list[Distribution] = []

    def label(arg: fx.Node) -> Any:
        known = walk.value(arg)
        if not isinstance(walk.shape(arg), torch.Size):
            return walk.shape(arg)  # a number
        if isinstance(known, Tensor) and not known.is_floating_point():
            return known  # an index
        layout = walk.layout(arg)
        if layout is None:
            raise LookupError
        first = sum(len(x.mean) for x in inputs)
        inputs.append(layout.channels)
        return layout.labels + first

    try:
        moved = _call(node, label)
    except LookupError:
        return None
    channels = Distribution.cat(inputs)
    return pytree.tree_map(lambda labels: _locate(Layout(channels, labels)), moved)


def _locate(layout: Layout) -> Distribution | Layout:
    located = layout.located()
    return layout if located is None else located


def _getitem(walk: Walk, node: fx.Node) -> Any:
    values, index = walk.value(node.args[0]), node.args[1]
    return values[index] if isinstance(values, list | tuple) else None  # type: ignore[index]


def _spatial(walk: Walk, node: fx.Node) -> Distribution | None:
    """Pooling and upsampling: results stay within the input's range.

    Mean and variance are kept. That is exact for the mean of average pooling and nearest
    upsampling, an upper bound for the variance of averages, and too low for the mean of maxima.
    """
    x = walk.of(node.args[0])
    if x is None or node.target not in PADDED_POOLS or not any(argument(node, "padding")):
        return x
    return Distribution(x.mean, x.var, x.low.clamp(max=0), x.high.clamp(min=0), x.axis)


def _reduce(walk: Walk, node: fx.Node) -> Distribution | None:
    """Mean or extremum over axes other than the channels; moments as in `_spatial`."""
    layout = walk.layout(node.args[0])
    if layout is None:
        return None
    x, labels = layout.channels, layout.labels
    axes = [axis % labels.ndim for axis in argument(node, "dim") or range(labels.ndim)]
    if not bool((labels.amax(axes) == labels.amin(axes)).all()):
        return None  # channels are mixed
    return Layout(x, labels.amax(axes, keepdim=bool(argument(node, "keepdim")))).located()


def _pad(walk: Walk, node: fx.Node) -> Distribution | None:
    """Padding with a constant counts with its share, also where it adds channels."""
    x, layout = walk.of(node.args[0]), walk.layout(node.args[0])
    if x is None or layout is None:
        return None
    if node.target is aten.pad.default and argument(node, "mode") != "constant":
        return x
    padded = F.pad(layout.labels, node.args[1], value=-1)  # type: ignore[arg-type]
    rows = padded.movedim(x.axis, 0).flatten(1)
    share = (rows < 0).to(x.mean).mean(1)
    return dilute(x.take(rows.amax(1).clamp(min=0), x.axis), share, argument(node, "value") or 0.0)


def _copy(walk: Walk, node: fx.Node) -> Distribution | None:
    return _express(walk, node, walk.expression(node.args[0]))  # type: ignore[arg-type]


def _normalized(walk: Walk, node: fx.Node, axis: int) -> Distribution | None:
    """A normalization with weight γ and bias β: values near N(β, γ²)."""
    weight, bias = (walk.value(argument(node, name)) for name in ("weight", "bias"))
    zero = walk.zeros(walk.shapes[node][axis])
    mean = zero if bias is None else bias.detach()
    std = zero + 1 if weight is None else weight.detach()
    return gaussian(mean, std**2, axis, walk.sigmas)


def _channel_norm(walk: Walk, node: fx.Node) -> Distribution | None:
    return _normalized(walk, node, 1)


def _layer_norm(walk: Walk, node: fx.Node) -> Distribution | None:
    """Unit variance over the channels of each position; the same is taken for each channel."""
    last = len(walk.shapes[node]) - 1
    return _normalized(walk, node, last) if len(argument(node, "normalized_shape")) == 1 else None


def _softmax(walk: Walk, node: fx.Node) -> Distribution:
    """Shares of one: their mean is 1 / n, and their variance at most that of a 0-1 variable."""
    shape, x = walk.shapes[node], walk.of(node.args[0])
    axis = len(shape) - 1 if x is None else x.axis
    zero = walk.zeros(shape[axis])
    mean = zero + 1 / shape[argument(node, "dim")]
    return Distribution(mean, mean - mean**2, zero, zero + 1, axis)


def _embedding(walk: Walk, node: fx.Node) -> Distribution | None:
    """Any row of the table is as likely as any other."""
    table, axis = walk.value(node.args[0]), len(walk.shapes[node]) - 1
    return of_constant(table.detach(), table.shape, 1).expand(table.shape[1], axis)


# Known whatever the input is.
GIVEN = {
    aten.batch_norm.default,
    aten.embedding.default,
    aten.instance_norm.default,
    aten.softmax.int,
}
# Never known for sure, but for the statistics of a BatchNorm.
GUESSED = {*WEIGHTED, aten.group_norm.default, aten.layer_norm.default}
RULES: dict[Any, Rule] = {
    **dict.fromkeys(WEIGHTED, _layer),
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(COPIES, _copy),
    **dict.fromkeys(MOVES, _move),
    **dict.fromkeys(SPATIAL - {aten.upsample_bicubic2d.vec}, _spatial),  # bicubic overshoots
    **dict.fromkeys(REDUCTIONS, _reduce),
    operator.getitem: _getitem,
    aten.pad.default: _pad,
    aten.constant_pad_nd.default: _pad,
    aten.batch_norm.default: _channel_norm,
    aten.group_norm.default: _channel_norm,
    aten.instance_norm.default: _channel_norm,
    aten.layer_norm.default: _layer_norm,
    aten.softmax.int: _softmax,
    aten.embedding.default: _embedding,
}
