"""min_Z E‖y − s Z x̂‖² layer after layer: rounding with a few unlabelled samples, the fast solver.

AdaRound, arXiv 2004.10568, chooses for every weight whether it is rounded up or down, such that the
output of its layer stays as it was; x̂ comes from the layers before, already quantized, and y from
the float network. Here the same problem is solved on the Gram matrix of x̂, which needs one pass
over the data and no training (`tersor.core.quadratic`): nearest plane, coordinate descent, then
scale and integers in turns, then the bias.

Differs from the paper in: weights may move further than to the next integer; the scale is fitted
along with them; the bias takes the mean error; a layer whose output is added to a shortcut also
makes up for the shortcut's error; the following activation is not part of the loss.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.core.grid import Grid
from tersor.core.quadratic import Quadratic, Weights, best_bias, best_scale
from tersor.core.rounding import Scales, descend, nearest_plane
from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer, argument, layers
from tersor.graph.network import Applied, Network, Skipped, source
from tersor.graph.patches import choose, read, written
from tersor.graph.stats import Batch
from tersor.graph.stream import Stream
from tersor.quant.quantizer import FakeQuantize

aten = torch.ops.aten


@dataclass(frozen=True)
class Rounding:
    """Options of the fast solver.

    Attributes:
        samples_per_weight: Sampled output positions for each weight of a row; more positions mean
            less noise in the Gram matrix.
        damping: Pull towards the float weights, as a share of the mean diagonal of the Gram matrix.
        rescale: How often the scale is fitted to the integers, and these to the scale again.
        sweeps: Most sweeps of coordinate descent.
        seed: Seed of the sampled positions.
    """

    samples_per_weight: int = 20
    damping: float = 0.01
    rescale: int = 2
    sweeps: int = 20
    seed: int = 0


@dataclass(frozen=True)
class _Moments:
    """What is left of the data of one layer."""

    problem: Quadratic
    inputs: Float[Tensor, "groups inputs"]
    outputs: Float[Tensor, "groups outputs"]


def round_weights(
    network: Network, batches: Iterable[Batch], options: Rounding = Rounding()
) -> None:
    """Choose the integers of every quantized weight, its scale and the bias.

    Args:
        network: A network whose quantizers have their ranges; edited in place.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        options: See `Rounding`.

    Raises:
        InvalidInputError: There is no batch.
    """
    data = list(batches)
    if not data:
        raise InvalidInputError("there is no batch to round with; give at least one sample")
    floating = Stream(network.copy(), data, simulate=False)
    quantized = Stream(network, data, simulate=True)
    generator = torch.Generator().manual_seed(options.seed)
    todo = {layer.node.name: layer for layer in layers(network)}
    twins = zip(floating.network.graph.nodes, list(network.graph.nodes), strict=True)
    for float_node, node in twins:
        floating.run(float_node)
        if node.name in todo:
            network.records.append(_round(todo[node.name], floating, quantized, generator, options))
        quantized.run(node)
    network.finish()


def _round(
    layer: Layer,
    floating: Stream,
    quantized: Stream,
    generator: torch.Generator,
    options: Rounding,
) -> Applied | Skipped:
    quantizer = _weight_quantizer(layer)
    if quantizer is None or not quantizer.enabled or layer.is_transposed:
        return Skipped(layer.name, "round", "its weight is not quantized")
    weights = layer.grouped_weight().flatten(2)
    moments = _moments(layer, floating, quantized, generator, options)
    free = moments.problem.centered(moments.inputs, moments.outputs)
    damped = free.damped(weights, options.damping)
    scale = quantizer.scale.expand(weights.shape[0] * weights.shape[1]).reshape(weights.shape[:2])
    nearest = (weights / scale[..., None]).round().clamp(quantizer.grid.qmin, quantizer.grid.qmax)
    before = free.error(scale[..., None] * nearest).sum()
    integers, scale = solve(damped, scale, quantizer.grid, quantizer.axis is None, options)
    rounded = scale[..., None] * integers
    after = free.error(rounded).sum()
    numbers = {"objective before": float(before), "objective after": float(after)}
    if not bool(after <= before):
        return Skipped(layer.name, "round", "no other rounding is better than the nearest")
    _store(layer, quantizer, rounded, scale)
    shift = best_bias(rounded, moments.inputs, moments.outputs).flatten()
    layer.set_bias(shift if layer.bias is None else layer.bias.detach() + shift)
    return Applied(layer.name, "round", "weights rounded for the least output error", numbers)


def solve(
    problem: Quadratic, scale: Scales, grid: Grid, shared: bool, options: Rounding
) -> tuple[Weights, Scales]:
    """Integers and scales of small error.

    Args:
        problem: A regular problem.
        scale: Scales to start with.
        grid: The integers allowed.
        shared: Whether all outputs have one scale.
        options: See `Rounding`.
    """
    integers = nearest_plane(problem, scale, grid)
    integers = descend(problem, integers, scale, grid, options.sweeps)
    for _ in range(options.rescale):
        scale = best_scale(problem, integers, scale, shared)
        integers = descend(problem, integers, scale, grid, options.sweeps)
    return integers, scale


def _moments(
    layer: Layer,
    floating: Stream,
    quantized: Stream,
    generator: torch.Generator,
    options: Rounding,
) -> _Moments:
    """One pass over the data of one layer."""
    edge = layer.node.args[0]
    assert isinstance(edge, fx.Node)
    wanted, given = floating.values[layer.node.name], quantized.of(edge)
    inputs = math.prod(layer.grouped_weight().shape[2:])
    count = math.ceil(options.samples_per_weight * inputs / sum(map(len, given)))
    missing = _shortcut_error(layer, floating, quantized)
    sums: list[Tensor] = []
    samples = 0
    for index, (y, x) in enumerate(zip(wanted, given, strict=True)):
        positions = choose(layer, y, count, generator)
        target = y if missing is None else y + missing[index]
        patches, outputs = read(layer, x, positions), written(layer, target, positions)
        samples += patches.shape[-1]
        parts = (
            patches @ patches.mT,
            outputs @ patches.mT,
            outputs.square().sum(-1),
            patches.sum(-1),
            outputs.sum(-1),
        )
        sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else list(parts)
    gram, cross, energy, mean_x, mean_y = (total / samples for total in sums)
    return _without_bias(layer, _Moments(Quadratic(gram, cross, energy), mean_x, mean_y))


def _without_bias(layer: Layer, moments: _Moments) -> _Moments:
    """The moments of the output without its bias."""
    if layer.bias is None:
        return moments
    problem, x, y = moments.problem, moments.inputs, moments.outputs
    bias = layer.bias.detach().reshape(y.shape)
    target = problem.target - bias[..., None] * x[..., None, :]
    energy = problem.energy - 2 * bias * y + bias.square()
    return _Moments(Quadratic(problem.gram, target, energy), x, y - bias)


def _shortcut_error(layer: Layer, floating: Stream, quantized: Stream) -> list[Tensor] | None:
    """What the other side of an addition lacks, if it is there already."""
    reader = layer.node
    while len(reader.users) == 1:
        edge, (reader,) = reader, reader.users
        if reader.target is aten.add.Tensor and not reader.kwargs:
            others = [arg for arg in reader.args if isinstance(arg, fx.Node) and arg is not edge]
            return _lacking(layer, others, floating, quantized)
        if reader.op != "call_module":
            break
    return None


def _lacking(
    layer: Layer, others: list[fx.Node], floating: Stream, quantized: Stream
) -> list[Tensor] | None:
    if len(others) != 1 or others[0].name not in quantized.values:
        return None
    before = source(others[0]).name
    want = floating.values.get(others[0].name, floating.values.get(before))
    shape = floating.values[layer.node.name][0].shape
    have = quantized.values[others[0].name]
    if want is None or want[0].shape != shape:
        return None
    return [a - b for a, b in zip(want, have, strict=True)]


def _store(layer: Layer, quantizer: FakeQuantize, rounded: Weights, scale: Scales) -> None:
    layer.set_grouped_weight(rounded.reshape(layer.grouped_weight().shape))
    flat = scale.flatten() if quantizer.axis is not None else scale.flatten()[0]
    quantizer.set_scale(flat, quantizer.zero_point)


def _weight_quantizer(layer: Layer) -> FakeQuantize | None:
    edge = argument(layer.node, "weight")
    if not isinstance(edge, fx.Node) or edge.op != "call_module":
        return None
    module = layer.network.module.get_submodule(str(edge.target))
    return module if isinstance(module, FakeQuantize) else None
