"""y = (x / s) (W s)ᵀ: moves the outliers of what linear layers read into their weights, with data.

    s_j = max|X_j|^α / max|W_j|^(1−α)

SmoothQuant, arXiv 2211.10438, §4. One step size serves all channels of an activation, and in
transformers a few channels of LayerNorms and gated activations are far larger than the others. The
maths is `tersor.core.smoothing`.

Differs from the paper in: see there for the strength. γ and β of a LayerNorm take the factor up
where only these layers read it, as in the paper. Otherwise a product is inserted in front of the
layers, so that the outputs of activations, and of a LayerNorm that a shortcut reads as well, are
smoothed too: a shortcut in floating point reads the value as it was.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.checked import Count, Part, PositiveOrZero, ProperShare, checked
from tersor.core.affine import fake_quantize
from tersor.core.ranges import scale_zero_point
from tersor.core.smoothing import Readers, best_smoothing, smoothing_scale
from tersor.data.given.pieces import pieces
from tersor.data.given.sample_rows import first_batches
from tersor.data.walk.channel_ends import ChannelEnds
from tersor.data.walk.observe import Batch, observe
from tersor.graph.lanes import Pairs
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Applied, Network, Record, Skipped
from tersor.graph.nodes import operand, readers, set_argument
from tersor.graph.norms import Norm, can_scale
from tersor.passes.rescale import scale_input, scale_output
from tersor.quant.placement.integer_values import Flow
from tersor.quant.placement.place import weight_quantizer
from tersor.quant.placement.quantizer import FakeQuantize, quantizer_at
from tersor.quant.ranges.calibrate import weight_ends
from tersor.quant.scheme import Scheme

aten = torch.ops.aten
STEP = "smooth"
_FINE = 8  # bits of weights from which rounding them costs less than the outliers


@checked()
@dataclass(frozen=True)
class Smoothing:
    """Options of SmoothQuant; the best strength and floor are chosen for each value.

    Attributes:
        strengths: Candidates for α; a value that none of them improves stays as it is. The paper
            uses 0.5 to 0.9.
        floors: Candidates for the least range of a channel, as a share of the largest one.
        samples: Number of samples that are looked at; every fourth one is held back to choose.
        rows: Number of positions in them on which a choice is judged.
        outputs: Number of output channels of each layer on which it is judged.
        least_gain: The share of the error that has to go away, or else a value stays as it is.
        enough: The error below which a value stays as it is, as noise over signal: 40 dB.
    """

    strengths: tuple[Part, ...] = (0.5, 0.6, 0.7, 0.8, 0.9)
    floors: tuple[ProperShare, ...] = (0.01, 0.03, 0.1, 0.3)
    samples: Count = 128
    rows: Count = 512
    outputs: Count = 256
    least_gain: ProperShare = 0.3
    enough: PositiveOrZero = 1e-4


@dataclass(frozen=True)
class Group:
    """A value, and the linear layers that read it as integers.

    Attributes:
        value: The value.
        quantizer: What will round it.
        layers: The layers.
        weights: What will round the weights of each layer.
    """

    value: fx.Node
    quantizer: FakeQuantize
    layers: list[Layer] = field(default_factory=list)
    weights: list[FakeQuantize] = field(default_factory=list)

    @property
    def names(self) -> str:
        """The names of the value and of its layers."""
        return f"{self.value.name} → {', '.join(layer.name for layer in self.layers)}"


def may_smooth(network: Network, scheme: Scheme) -> bool:
    """Whether a linear layer reads a value that is made in floating point.

    Args:
        network: The network, without quantizers.
        scheme: The target.
    """
    found = {layer.node for layer in layers(network) if layer.node.target in scheme.kernels}
    flow = Flow(network, scheme, found)
    return any(_is_float(flow, Layer(node, network)) for node in found)


def smooth(
    network: Network,
    placed: Network,
    scheme: Scheme,
    batches: Sequence[Batch],
    options: Smoothing = Smoothing(),
) -> None:
    """Smooth every value for which that makes the outputs of its layers more accurate.

    Args:
        network: The network without quantizers, edited in place; its function stays.
        placed: A copy of it on which the quantizers have been placed.
        scheme: The target.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        options: See `Smoothing`.
    """
    groups, refused = match(network, placed, scheme)
    network.records += refused
    used = pieces(network, first_batches(batches, options.samples))
    seen = {group.value: ChannelEnds(ceil(4 * options.rows / len(used))) for group in groups}
    if groups:
        observe(network, used, seen)
    for group in groups:
        network.records.append(_smooth(network, group, seen[group.value], scheme, options))
    network.finish()


def match(network: Network, placed: Network, scheme: Scheme) -> tuple[list[Group], list[Skipped]]:
    """Find the values that could be smoothed, and why some others cannot be.

    Args:
        network: The network without quantizers.
        placed: A copy of it on which the quantizers have been placed.
        scheme: The target.
    """
    rounding = dict(_rounding(placed))
    integer = {node for node in network.graph.nodes if node.name in rounding}
    flow = Flow(network, scheme, integer)
    found: dict[fx.Node, Group] = {}
    for layer in layers(network):
        if layer.node not in integer or not _is_float(flow, layer):
            continue
        of_value, of_weight = rounding[layer.node.name]
        group = found.setdefault(layer.input, Group(layer.input, of_value))
        group.layers.append(layer)
        group.weights.append(of_weight)
    reasons = [(group, check(group)) for group in found.values()]
    refused = [Skipped(group.names, STEP, reason) for group, reason in reasons if reason]
    return [group for group, reason in reasons if reason is None], refused


def _rounding(placed: Network) -> Iterator[tuple[str, tuple[FakeQuantize, FakeQuantize]]]:
    """Layers in integers, each with the quantizers of its input and of its weight."""
    for layer in layers(placed):
        of_weight = weight_quantizer(layer)
        of_value = quantizer_at(placed, operand(layer.node))
        if of_value is not None and of_weight is not None and not of_weight.stored_only:
            yield layer.node.name, (of_value, of_weight)


def _is_float(flow: Flow, layer: Layer) -> bool:
    """Whether a layer is linear, and what it reads was made in floating point."""
    if not layer.is_linear:
        return False
    made = flow.origin(layer.input)
    return made.op == "call_function" and not flow.has_kernel(made)


def check(group: Group) -> str | None:
    """Why a value cannot be smoothed; None if it can.

    Args:
        group: The value with its layers.
    """
    nodes = {layer.node for layer in group.layers}
    bits = min(quantizer.grid.bits for quantizer in group.weights)
    if bits < _FINE:
        return f"the weights have {bits} bits, which leaves no room for outliers"
    if not all(nodes.issuperset(readers(layer.weight_node)) for layer in group.layers):
        return "other calls read the same weights"
    return None


def _smooth(
    network: Network, group: Group, seen: ChannelEnds, scheme: Scheme, options: Smoothing
) -> Record:
    """Smooth one value if that helps."""
    if not seen.is_enough:
        return Skipped(group.names, STEP, "there are too few samples to choose a strength by")
    task = _task(group, seen, scheme, options)
    low, high = seen.others
    candidates = product(options.strengths, options.floors)
    best, before = best_smoothing(task, low, high, candidates)
    if before < options.enough or best.error > (1 - options.least_gain) * before:
        return Skipped(group.names, STEP, "its layers would hardly be more accurate")
    reach = torch.stack(seen.all).abs().amax(0)
    how = apply(network, group, smoothing_scale(reach, task.weights, best.strength, best.floor))
    numbers = {"strength": best.strength, "floor": best.floor}
    numbers |= {"error before": before, "error after": best.error}
    return Applied(group.names, STEP, how, numbers)


def _task(group: Group, seen: ChannelEnds, scheme: Scheme, options: Smoothing) -> Readers:
    """The layers of a group, with some of their output channels, and rows to judge them on."""
    found, reach = [], []
    for layer, quantizer in zip(group.layers, group.weights, strict=True):
        weight = layer.weight.detach()
        reach.append(weight.abs().amax(0))
        if quantizer.axis is not None:  # else one range serves all channels
            weight = weight[:: ceil(len(weight) / options.outputs)]
        found.append((weight, partial(_rounded, quantizer, layer, scheme.pair_safe)))
    rows = seen.rows[:: ceil(len(seen.rows) / options.rows)]
    return Readers(rows, group.quantizer.grid, found, torch.stack(reach).amax(0))


def _rounded(
    quantizer: FakeQuantize, layer: Layer, pair_safe: Pairs | None, weight: Tensor
) -> Tensor:
    ends = weight_ends(weight, quantizer, [layer], pair_safe)
    step, zero_point = scale_zero_point(*ends, quantizer.grid)
    return fake_quantize(weight, step, zero_point, quantizer.grid, quantizer.axis)


def apply(network: Network, group: Group, scale: Float[Tensor, " channels"]) -> str:
    """Divide a value by factors, and multiply the weights by them; returns how that was done.

    Args:
        network: Edited in place.
        group: The value with its layers.
        scale: The factors.
    """
    for layer in {layer.weight_node: layer for layer in group.layers}.values():
        scale_input(layer, scale)
    value, nodes = group.value, [layer.node for layer in group.layers]
    if value.target is aten.layer_norm.default and can_scale(value):
        norm = Norm(value, network)
        if norm.has_own_weight and set(value.users) == set(nodes):
            scale_output(norm, 1 / scale)
            return "outliers moved from a norm into the weights"
    first = min(nodes, key=list(network.graph.nodes).index)
    stored = network.add_tensor(f"{group.layers[0].name}.smoothing", 1 / scale, before=first)
    with network.graph.inserting_before(first):
        smoothed = network.graph.create_node(
            "call_function", aten.mul.Tensor, (value, stored), name=f"{value.name}_smoothed"
        )
    smoothed.meta["val"] = value.meta["val"]
    for node in nodes:
        set_argument(node, "input", smoothed)
    return "outliers moved into the weights by a product in front of the layer"
