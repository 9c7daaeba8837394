"""Classifies ATen ops by their effect on a value, and by the effect of a scale per channel."""

import operator
from typing import Any

import torch
from torch import fx

from tersor.graph.nodes import argument

aten = torch.ops.aten

# Ops with a weight → the number of its kernel axes.
CONVOLUTIONS = {
    aten.conv1d.default: 1,
    aten.conv2d.default: 2,
    aten.conv3d.default: 3,
    aten.conv1d.padding: 1,
    aten.conv2d.padding: 2,
    aten.conv3d.padding: 3,
}
TRANSPOSED = {
    aten.conv_transpose1d.default: 1,
    aten.conv_transpose2d.input: 2,
    aten.conv_transpose3d.input: 3,
}
LINEAR = {aten.linear.default: 0}
WEIGHTED = CONVOLUTIONS | TRANSPOSED | LINEAR
# Elementwise ops that commute with a positive scale per channel.
ELEMENTWISE = {
    aten.relu.default,
    aten.leaky_relu.default,
    aten.dropout.default,
    aten.feature_dropout.default,
    aten.neg.default,
    aten.abs.default,
}
# Ops over the last axes → their number; the axis before them is the channel axis.
POOLS = {
    aten.max_pool1d.default: 1,
    aten.max_pool2d.default: 2,
    aten.max_pool3d.default: 3,
    aten.avg_pool1d.default: 1,
    aten.avg_pool2d.default: 2,
    aten.avg_pool3d.default: 3,
    aten.adaptive_avg_pool1d.default: 1,
    aten.adaptive_avg_pool2d.default: 2,
    aten.adaptive_avg_pool3d.default: 3,
    aten.upsample_nearest1d.vec: 1,
    aten.upsample_nearest2d.vec: 2,
    aten.upsample_nearest3d.vec: 3,
    aten.upsample_linear1d.vec: 1,
    aten.upsample_bilinear2d.vec: 2,
    aten.upsample_bicubic2d.vec: 2,
}
PADS = {aten.pad.default, aten.constant_pad_nd.default}
# Reductions over the axes that the call names.
REDUCTIONS = {
    aten.mean.dim,
    aten.sum.dim_IntList,
    aten.amax.default,
    aten.amin.default,
}
# Data movement: every element is a copy of an element of the input.
MOVEMENT = {
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.permute.default,
    aten.transpose.int,
    aten.t.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.expand.default,
    aten.slice.Tensor,
    aten.select.int,
    aten.narrow.default,
    aten.chunk.default,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.unbind.int,
    aten.cat.default,
    aten.stack.default,
    aten.pixel_shuffle.default,
    aten.channel_shuffle.default,
    aten.flip.default,
    aten.roll.default,
    operator.getitem,
}
# Products of two activations, or of an activation and a weight.
MATMULS = {aten.matmul.default, aten.bmm.default}
# Ops that are the identity in inference.
DROPOUTS = {aten.dropout.default, aten.feature_dropout.default}
# Norms that may keep running statistics. Arguments: …, 3 running_mean, 4 running_var, 5 training.
STATISTICS_NORMS = {aten.batch_norm.default, aten.instance_norm.default}
# Clips at numbers: these commute only if the bounds are scaled too.
CLIPS = {
    aten.relu6.default,
    aten.hardtanh.default,
    aten.clamp.default,
    aten.clamp_min.default,
    aten.clamp_max.default,
}
# Elementwise functions of one value, whether or not they commute with a scale.
UNARY = {
    aten.abs.default,
    aten.celu.default,
    aten.clamp.default,
    aten.clamp_max.default,
    aten.clamp_min.default,
    aten.elu.default,
    aten.erf.default,
    aten.exp.default,
    aten.gelu.default,
    aten.hardsigmoid.default,
    aten.hardswish.default,
    aten.hardtanh.default,
    aten.leaky_relu.default,
    aten.log_sigmoid.default,
    aten.mish.default,
    aten.neg.default,
    aten.pow.Tensor_Scalar,
    aten.relu.default,
    aten.relu6.default,
    aten.rsub.Scalar,
    aten.selu.default,
    aten.sigmoid.default,
    aten.silu.default,
    aten.softplus.default,
    aten.square.default,
    aten.tanh.default,
}
# Elementwise functions of two values.
BINARY = {
    aten.add.Tensor,
    aten.div.Tensor,
    aten.maximum.default,
    aten.minimum.default,
    aten.mul.Tensor,
    aten.prelu.default,
    aten.sub.Tensor,
}


def clip_bounds(node: fx.Node) -> tuple[float, float] | None:
    """Lower and upper bound of a clipping op; None for other ops, or if a bound is computed."""
    infinity = float("inf")
    if node.target is aten.relu.default:
        return 0.0, infinity
    if node.target is aten.relu6.default:
        return 0.0, 6.0
    if node.target is aten.hardtanh.default:
        low, high = argument(node, "min_val"), argument(node, "max_val")
    elif node.target in CLIPS:
        low, high = _optional(node, "min"), _optional(node, "max")
    else:
        return None
    if isinstance(low, fx.Node) or isinstance(high, fx.Node):
        return None
    return -infinity if low is None else float(low), infinity if high is None else float(high)


def _optional(node: fx.Node, name: str) -> Any:
    """Read an optional bound: `clamp` has both, `clamp_min` and `clamp_max` have one."""
    try:
        return argument(node, name)
    except KeyError:
        return None


def pads_with_constant(node: fx.Node) -> bool:
    """True for constant padding; False for reflected, replicated or circular padding."""
    return node.target is not aten.pad.default or argument(node, "mode") == "constant"


def padding_per_axis(node: fx.Node) -> dict[int, tuple[Any, Any]]:
    """Axis, counted from the end → how much a pad op adds before and after: nodes if it is open."""
    pad = argument(node, "pad")
    pairs = enumerate(zip(pad[::2], pad[1::2], strict=True))
    return {-1 - index: (before, after) for index, (before, after) in pairs if before or after}
