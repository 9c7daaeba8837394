"""Explains why a quantizer does damage: outliers, unequal channels, ranges that do not fit.

The symptoms follow the white paper, arXiv 2106.08295, §6, "visualize layers".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

import torch
from torch import Tensor

from tersor.core.pairs import are_safe
from tersor.core.ranges import minmax
from tersor.data.walk.observe import Batch, observe
from tersor.graph.lanes import partners
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network
from tersor.quant.noise.alone import QuantizerUse
from tersor.quant.placement.place import weight_quantizer
from tersor.quant.placement.quantizer import FakeQuantize, adds_pairs

_OUTLIER = 16.0  # times the median channel, or the typical value
_CLIPPED = 0.001  # share of the values
_FEW = 0.1  # share of the channels
_KEPT = 1 << 16  # values of a batch that are examined
_TYPICAL = 0.999  # share of the values


@dataclass
class _Seen:
    """A summary of an activation: the ends per channel, and some of the values."""

    axis: int
    ends: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def __call__(self, value: Tensor) -> None:
        self.ends.append(minmax(value, self.axis % value.ndim))
        flat = value.detach().flatten().float()
        self.values.append(flat[:: ceil(len(flat) / _KEPT)])

    def channels(self) -> Tensor:
        """The largest magnitude per channel, or of all values if the number of channels varies."""
        ends = [torch.maximum(-low, high) for low, high in self.ends]
        if len({x.shape for x in ends}) > 1:
            return torch.stack([x.max() for x in ends])
        return torch.stack(ends).amax(0)


def symptoms(
    network: Network, wanted: list[QuantizerUse], batches: Sequence[Batch]
) -> list[list[str]]:
    """Describe what is unusual about the values that quantizers round; nothing for most.

    Args:
        network: The network.
        wanted: The quantizers.
        batches: Unlabelled inputs, as `(args, kwargs)`.
    """
    watched = {s.value: _Seen(_channel_axis(s)) for s in wanted if s.side == "activations"}
    if watched:
        observe(network, batches, watched)
    return [
        _of_activation(watched[use.value], use.quantizer)
        if use.side == "activations"
        else _of_weights(use, network.tensor(use.value).detach())
        for use in wanted
    ]


def may_saturate(network: Network) -> list[str]:
    """Find layers whose weight pairs overflow 16 bits in u8×s8 kernels of CPUs without VNNI.

    Args:
        network: A quantized network.
    """
    found = []
    for layer in layers(network):
        quantizer = weight_quantizer(layer)
        if quantizer is None or not quantizer.enabled or not adds_pairs(layer, quantizer):
            continue
        partner = partners(layer, "rows")
        if partner is None:
            continue
        rows = _rows(layer, quantizer(layer.weight.detach()))
        integers = (rows / quantizer.scale.expand(len(rows))[:, None]).round()
        if not bool(are_safe(integers, partner, quantizer.grid).all()):
            found.append(layer.name)
    return found


def _rows(layer: Layer, weight: Tensor) -> Tensor:
    """One row per output channel."""
    return weight.movedim(layer.out_axis, 0).flatten(1)


def _channel_axis(use: QuantizerUse) -> int:
    if use.readers:
        return use.readers[0].channel_axis
    return 1 if use.value.meta["val"].ndim == 4 else -1


def _of_weights(use: QuantizerUse, weight: Tensor) -> list[str]:
    quantizer, found = use.quantizer, _few_bits(use.quantizer)
    if not use.readers:
        return found
    rows = _rows(use.readers[0], weight).abs()
    reach = rows.amax(1)
    channel, most, median = int(reach.argmax()), float(reach.max()), float(reach.median())
    if quantizer.axis is None and most > _OUTLIER * median:
        found.append(
            f"output channel {channel} reaches ±{most:.3g}, the median channel ±{median:.3g}, and "
            f"all share one step of {float(quantizer.scale):.3g}"
        )
    typical = rows[channel].square().mean().sqrt()
    if quantizer.axis is not None and most > _OUTLIER * typical:
        found.append(
            f"one weight of output channel {channel} is {most:.3g}, while they are {typical:.3g} "
            "on average, and all share one step"
        )
    return found


def _of_activation(seen: _Seen, quantizer: FakeQuantize) -> list[str]:
    values = torch.cat(seen.values)
    low, high = _grid_ends(quantizer)
    slack = float(quantizer.scale)
    found = _few_bits(quantizer)
    clipped = float(((values < low - slack) | (values > high + slack)).float().mean())
    smallest, largest = float(values.min()), float(values.max())
    if clipped > _CLIPPED:
        found.append(
            f"{clipped:.1%} of its values lie outside its range {low:.3g}…{high:.3g}: the samples "
            f"reach {smallest:.3g}…{largest:.3g}"
        )
    reach = seen.channels()
    most, median = float(reach.max()), float(reach.median())
    if most > _OUTLIER * median:
        found.append(
            f"channel {int(reach.argmax())} reaches ±{most:.3g}, the median channel "
            f"±{median:.3g}, and all share one step of {slack:.3g}"
        )
    elif most > _OUTLIER * (least := float(reach.quantile(_FEW))):
        found.append(
            f"a tenth of its channels reach at most ±{least:.3g}, the largest ±{most:.3g}, and all "
            f"share one step of {slack:.3g}"
        )
    typical = float(values.abs().quantile(_TYPICAL))
    if max(-low, high) > _OUTLIER * typical:
        found.append(
            f"its range is {low:.3g}…{high:.3g}, but {_TYPICAL:.1%} of its values lie within "
            f"±{typical:.3g}, so one step is {slack:.3g}"
        )
    return found


def _few_bits(quantizer: FakeQuantize) -> list[str]:
    bits = quantizer.grid.bits
    return [f"it has {bits} bits"] if bits < 8 else []


def _grid_ends(quantizer: FakeQuantize) -> tuple[float, float]:
    """The smallest and largest value of a per-tensor grid."""
    grid, zero = quantizer.grid, quantizer.zero_point
    ends = [(end - zero) * quantizer.scale for end in (grid.qmin, grid.qmax)]
    return float(ends[0]), float(ends[1])
