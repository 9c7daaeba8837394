"""Measures how far every layer is from the float network, and the distribution of its values.

    ŷ    the output with everything before it quantized:  error that has accumulated
    ŷ₁   the output with only this layer quantized:       error of the layer itself

Two streams pass through the float and the quantized network side by side, on a few samples. Outputs
are taken after the activation, since values that ReLU cuts off are no error.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from tersor.core.metrics import decibels, signal_and_noise
from tersor.data.runs.room import room_for, values_fit
from tersor.data.walk.observe import Batch
from tersor.data.walk.shelf import Shelf
from tersor.data.walk.stream import Stream
from tersor.graph.activation import activation
from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Applied, Network, OnLayer
from tersor.graph.nodes import operand, source
from tersor.quant.placement.place import weight_quantizer
from tersor.quant.placement.quantizer import quantizer_at
from tersor.report.contents import GridHistogram

_BINS = 64
_PIECE = 1 << 17  # numbers at a time
_MOST = 120.0  # dB: float32 has no digits beyond this


@dataclass(frozen=True)
class Measured:
    """The measurements at one layer; see `tersor.report.contents.LayerReport`."""

    sqnr: float | None
    own: float | None
    stored: float | None
    weights: GridHistogram | None
    inputs: GridHistogram | None


def measure(
    floating: Network, network: Network, batches: Sequence[Batch], on_layer: OnLayer | None = None
) -> dict[str, Measured]:
    """Measure every layer that both networks have, with outputs of the same shape.

    Args:
        floating: The float network, prepared like the other one.
        network: The quantized or compressed network.
        batches: A few inputs.
        on_layer: Called after each layer with its number, the total number, and a record.

    Returns:
        Name of a layer's node → what was measured.
    """
    pairs, shelf = _pairs(floating, network), _shelf(network, batches)
    streams = tuple(
        Stream(each, batches, simulate=each is network, shelf=shelf) for each in (floating, network)
    )
    found: dict[str, Measured] = {}
    ahead = iter(list(floating.graph.nodes))
    with torch.no_grad():
        for node in list(network.graph.nodes):
            if node not in pairs:
                streams[1].run(node)
                continue
            twin, layer = pairs[node], Layer(node, network)
            _advance(streams[0], ahead, twin)
            found[node.name] = _measured(Layer(twin, floating), layer, *streams)
            if on_layer is not None:
                record = Applied(layer.name, "measure", "compared with the float network")
                on_layer(len(found), len(pairs), record)
    return found


def _shelf(network: Network, batches: Sequence[Batch]) -> Shelf:
    """What keeps the values: as they are if there is surely room for all, or else in files, too."""
    room = room_for(network, None)
    return Shelf(None if values_fit(network, batches, room) else room)


def _pairs(floating: Network, network: Network) -> dict[fx.Node, fx.Node]:
    """Pair the layers that both networks have, as far as they are in the same order."""
    order = {node.name: (i, node) for i, node in enumerate(floating.graph.nodes) if is_layer(node)}
    found, last = dict[fx.Node, fx.Node](), -1
    for node in network.graph.nodes:
        position, twin = order.get(node.name, (-1, None))
        if twin is not None and is_layer(node) and position > last:
            found[node], last = twin, position
    return found


def _advance(stream: Stream, nodes: Iterator[fx.Node], end: fx.Node) -> None:
    """Run a stream up to a node, without the node itself."""
    for node in nodes:
        if node is end:
            return
        stream.run(node)


def _measured(wanted: Layer, layer: Layer, floating: Stream, quantized: Stream) -> Measured:
    """Measure one layer, and let both streams run it."""
    behind = {node.name: source(node).name for node in floating.network.graph.nodes}
    given = floating.of(operand(wanted.node))
    alone = quantized.fork()
    alone.values = {behind[name]: x for name, x in floating.values.items()}
    same = wanted.input.name == layer.input.name and _shape(wanted) == _shape(layer)
    own = _seen(layer, alone) if same else None
    floating.run(wanted.node)
    quantized.run(layer.node)
    y = _seen(wanted, floating)
    return Measured(
        sqnr=_sqnr(y, _seen(layer, quantized)),
        own=None if own is None else _sqnr(y, own),
        stored=_sqnr([_rounded(wanted)], [_rounded(layer)]) if same else None,
        weights=_weights(layer),
        inputs=_inputs(layer, given),
    )


def _seen(layer: Layer, stream: Stream) -> Sequence[Tensor]:
    """A layer's output as others see it: after its activation, which may hide errors."""
    visible = activation(layer.network, layer.node)
    return [visible(x) for x in stream.of(layer.node)]


def _shape(layer: Layer) -> tuple[int, ...] | None:
    """Shape of the stored weight; None if it is computed."""
    return tuple(layer.weight.shape) if layer.has_stored_weight else None


def _sqnr(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> float | None:
    if any(x.shape != y.shape for x, y in zip(wanted, found, strict=True)):
        return None
    energies = [signal_and_noise(x, y) for x, y in zip(wanted, found, strict=True)]
    signal, noise = (sum(each) for each in zip(*energies, strict=True))
    return max(-_MOST, min(_MOST, decibels(signal, noise)))


def _rounded(layer: Layer) -> Tensor:
    """The weight that the layer multiplies with, or None if it is computed."""
    if not layer.has_stored_weight:
        return torch.ones(1)
    quantizer = weight_quantizer(layer)
    return layer.weight.detach() if quantizer is None else quantizer(layer.weight.detach())


def _weights(layer: Layer) -> GridHistogram | None:
    """Histogram of the weights in steps of their channel, with one or more steps per bin."""
    quantizer = weight_quantizer(layer)
    if quantizer is None or not quantizer.enabled:
        return None
    axes = [1] * layer.weight.ndim
    if quantizer.axis is not None:
        axes[quantizer.axis] = -1
    steps = (layer.weight.detach() / quantizer.scale.reshape(axes)).round()
    grid, least = quantizer.grid, float(steps.min())
    width = max(1, math.ceil((float(steps.max()) - least + 1) / _BINS))
    ends = (float(grid.qmin), float(grid.qmax))
    return _histogram([steps], least - 0.5, float(width), ends, grid.bits)


def _inputs(layer: Layer, given: Sequence[Tensor]) -> GridHistogram | None:
    """Histogram of a layer's inputs in the float network, with the grid of its quantizer."""
    module = quantizer_at(layer.network, operand(layer.node))
    if module is None or not module.enabled or module.axis is not None:
        return None
    ends_of_each = torch.stack([torch.stack(x.float().aminmax()) for x in given])
    least, most = float(ends_of_each[:, 0].min()), float(ends_of_each[:, 1].max())
    grid, scale, zero = module.grid, float(module.scale), float(module.zero_point)
    ends = ((grid.qmin - zero) * scale, (grid.qmax - zero) * scale)
    return _histogram(given, least, max(most - least, 1e-12) / _BINS, ends, grid.bits)


def _histogram(
    values: Sequence[Tensor], start: float, width: float, ends: tuple[float, float], bits: int
) -> GridHistogram:
    counts = torch.zeros(_BINS, dtype=torch.long)
    for piece in (piece for x in values for piece in x.flatten().float().split(_PIECE)):
        bins = ((piece - start) / width).long().clamp_(0, _BINS - 1)
        counts += torch.bincount(bins, minlength=_BINS)
    used = counts[: int(counts.nonzero().max()) + 1]
    shares = tuple(short(share) for share in (used / used.sum()).tolist())
    return GridHistogram(
        short(start), short(width), shares, short(ends[0]), short(ends[1]), 2**bits
    )


def short(value: float) -> float:
    """Round a number to the digits that a plot can show."""
    return float(f"{value:.4g}")
