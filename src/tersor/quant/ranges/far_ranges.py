"""Tells of inputs and concatenations whose parts have very different ranges, where that costs much.

    r_o = Var[W u]_o / Var[W x]_o,  Var[u] = s² / 12: rounding to steps of s

All channels of a value share one step, which follows the largest. A layer reads small channels with
large weights, which make their noise as large as that of the others. r is closed-form: see
`tersor.core.response`. Unequal channels of other values are the business of equalization.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.core.ranges import channel_rows, minmax
from tersor.core.response import response_variance
from tersor.data.given.pieces import joined
from tersor.data.walk.observe import Batch, observe
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network, Skipped
from tersor.graph.nodes import operand
from tersor.quant.placement.quantizer import FakeQuantize, quantizer_at

STEP = "ranges"
_FAR = 30.0  # times the smallest channel
_MUCH = 0.05  # noise over signal of the outputs of a layer, on average
_LEAST = 1e-6  # part of the largest channel below which a channel counts as dead
_BATCHES = 4


@dataclass
class _Channels:
    """Mean, variance and reach of each channel, over batches."""

    axis: int
    count: int = 0
    sums: list[Tensor] = field(default_factory=list)
    squares: list[Tensor] = field(default_factory=list)
    reaches: list[Tensor] = field(default_factory=list)

    def __call__(self, value: Tensor) -> None:
        rows = channel_rows(value.detach().double(), self.axis)
        self.count += rows.shape[1]
        self.sums.append(rows.sum(1))
        self.squares.append(rows.square().sum(1))
        low, high = minmax(value.detach(), self.axis)
        self.reaches.append(torch.maximum(-low, high))

    @property
    def variance(self) -> Float[Tensor, " channels"]:
        mean, square = (torch.stack(x).sum(0) / self.count for x in (self.sums, self.squares))
        return (square - mean.square()).clamp(min=0)

    @property
    def reach(self) -> Float[Tensor, " channels"]:
        return torch.stack(self.reaches).amax(0)


def tell_far_ranges(network: Network, batches: Sequence[Batch]) -> None:
    """Leave a record for each value that is too coarse for a layer that reads it.

    Args:
        network: A quantized network; gets the records.
        batches: Samples, of which a few are looked at.
    """
    found = list(_candidates(network))
    seen = {value: _Channels(layer.channel_axis) for layer, value, _ in found}
    if not seen:
        return
    observe(network, joined(network, batches[:_BATCHES]), seen)
    for layer, value, quantizer in found:
        words = _words(layer, seen[value], quantizer)
        if words is not None:
            network.records.append(Skipped(value.name, STEP, words))


def _candidates(network: Network) -> Iterator[tuple[Layer, fx.Node, FakeQuantize]]:
    """Layers that read an input or a concatenation with several channels."""
    for layer in layers(network):
        value, quantizer = layer.input, quantizer_at(network, operand(layer.node))
        if quantizer is None or not quantizer.enabled or quantizer.scale.ndim or layer.computed:
            continue
        is_whole = value.op == "placeholder" or value.target is torch.ops.aten.cat.default
        if is_whole and value.meta["val"].shape[layer.channel_axis] > 1:
            yield layer, value, quantizer


def _words(layer: Layer, seen: _Channels, quantizer: FakeQuantize) -> str | None:
    """What the rounding costs this layer, if that is much and the channels are to blame."""
    reach = seen.reach
    alive = reach[reach > _LEAST * reach.max()]
    if not len(alive) or alive.max() <= _FAR * alive.min():
        return None
    lost = _lost(layer.grouped_weight().double(), seen.variance, float(quantizer.scale))
    if not float(lost.mean()) > _MUCH:
        return None
    return (
        f"its channels reach from ±{float(alive.min()):.3g} to ±{float(alive.max()):.3g} and share "
        f"one step of {float(quantizer.scale):.3g}, which is {float(lost.mean()):.0%} noise for "
        f"the outputs of {layer.name!r}. Bring its parts to one range, or leave this layer in "
        f"float with exclude=[{layer.name!r}], on the command line --exclude {layer.name}"
    )


def _lost(weight: Tensor, variance: Tensor, step: float) -> Float[Tensor, " outputs"]:
    """r of every output, at most 1."""
    coverage = weight.new_ones(weight.shape[3:])
    rounding = torch.full_like(variance, step**2 / 12)
    noise, signal = (response_variance(weight, var, coverage) for var in (rounding, variance))
    return (noise / signal.clamp(min=torch.finfo(signal.dtype).tiny)).clamp(max=1)
