"""One layer of a network to be rounded, with its inputs and wanted outputs."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tersor.core.plane import Scales
from tersor.core.quadratic import Weights
from tersor.data.walk.gram import Moments, moments_of
from tersor.data.walk.per_batch import Computed, coded, lengths
from tersor.graph.layers import Layer
from tersor.quant.placement.place import weight_quantizer
from tersor.quant.placement.quantizer import FakeQuantize


@dataclass(frozen=True)
class LayerTask:
    """One layer whose weight is to be rounded, and its data for every batch.

    Reading a value of the data may compute it, so it is read once.

    Attributes:
        layer: The layer; its weight and bias are still those of the float network.
        quantizer: The quantizer of its weight, with a range.
        given: x̂ of every batch.
        wanted: y of every batch, including the bias.
        missing: Float minus quantized value of the shortcut for every batch, if the output is added
            to a shortcut that is already quantized.
        held_back: Number of batches, the last ones, that are held out to check the result.
        seed: Seed of this layer.
    """

    layer: Layer
    quantizer: FakeQuantize
    given: Sequence[Tensor] = field(repr=False)
    wanted: Sequence[Tensor] = field(repr=False)
    missing: Sequence[Tensor] | None = field(repr=False)
    held_back: int
    seed: int

    @property
    def used(self) -> slice:
        """The batches to round with."""
        return slice(0, len(self.given) - self.held_back)

    @property
    def judges(self) -> slice:
        """The batches on which the result is checked: those held out, or all if none are."""
        return slice(len(self.given) - self.held_back, None) if self.held_back else self.used

    @property
    def weights(self) -> Weights:
        """The float weights, with kernel axes flattened into the inputs."""
        return self.layer.grouped_weight().flatten(2)

    @property
    def scale(self) -> Scales:
        """The scale of every output, even if all outputs share one scale."""
        groups, outputs = self.layer.grouped_weight().shape[:2]
        return self.quantizer.scale.expand(groups * outputs).reshape(groups, outputs)

    @property
    def shares_scale(self) -> bool:
        """Whether all outputs share one scale."""
        return self.quantizer.axis is None

    def nearest(self) -> Weights:
        """Round each weight to the nearest value of its grid."""
        grid, step = self.quantizer.grid, self.scale[..., None]
        return (self.weights / step).round().clamp(grid.qmin, grid.qmax) * step

    def store(self, rounded: Weights, scale: Scales | None = None) -> None:
        """Store rounded weights in the network.

        Args:
            rounded: Weights that are multiples of their scale.
            scale: New scales, if they have changed.
        """
        self.layer.set_grouped_weight(rounded.reshape(self.layer.grouped_weight().shape))
        if scale is not None:
            flat = scale.flatten()
            flat = flat[0] if self.shares_scale else flat
            self.quantizer.set_scale(flat, self.quantizer.zero_point)

    def shift_bias(self, shift: Tensor) -> None:
        """Add a correction to the bias; a layer without a bias gets one.

        Args:
            shift: One number for each output.
        """
        shift = shift.flatten()
        self.layer.add_to_bias(shift)

    def correct_mean(self) -> Tensor:
        """Make the mean of every output that of the float network, for the weights as they are.

        A layer is affine, so it takes the mean of a batch to the mean of its outputs.

        Returns:
            What was added to the bias, one number for each output.
        """
        layer = self.layer
        with torch.no_grad():
            weight = self.quantizer(layer.weight)
            found = [(layer.run(_mean_sample(layer, x), weight), len(x)) for x in self.given]
        shift = _mean(layer, ((y, 1) for y in self.wanted)) - _mean(layer, found)
        self.shift_bias(shift)
        return shift

    def moments(self, batches: slice, positions: int) -> Moments:
        """Measure the moments of the data that the fast solver needs, in one pass.

        Args:
            batches: The batches to measure.
            positions: Number of output positions to sample in all batches of the task.
        """
        given, wanted = coded(self.given[batches]), self.wanted[batches]
        if self.missing is not None:
            wanted = Computed(torch.add, wanted, self.missing[batches])
        pairs = zip(given, wanted, strict=True)
        count = math.ceil(positions / sum(lengths(self.given)))
        return moments_of(self.layer, pairs, count, torch.Generator().manual_seed(self.seed))


def state(layer: Layer) -> dict[str, Tensor]:
    """Copy everything of a layer that a solver may change."""
    quantizer = weight_quantizer(layer)
    found = {"weight": layer.grouped_weight().detach()}
    if quantizer is not None and quantizer.enabled:
        found["scale"] = quantizer.scale
    return found if layer.bias is None else {**found, "bias": layer.bias.detach()}


def restore(layer: Layer, found: dict[str, Tensor]) -> None:
    """Restore the state of a layer.

    Args:
        layer: The layer.
        found: The result of `state`, on any device.
    """
    device, quantizer = layer.weight.device, weight_quantizer(layer)
    layer.set_grouped_weight(found["weight"].to(device))
    if quantizer is not None and "scale" in found:
        quantizer.set_scale(found["scale"].to(device), quantizer.zero_point)
    if "bias" in found:
        layer.set_bias(found["bias"].to(device))


def _mean_sample(layer: Layer, x: Tensor) -> Tensor:
    """The mean of a batch, as a batch of one."""
    return x.mean(0, keepdim=True) if _has_batch(layer, x) else x


def _has_batch(layer: Layer, x: Tensor) -> bool:
    """Whether a value has a batch; a layer in a loop may see single samples, without one."""
    return x.ndim >= layer.kernel_dims + 2


def _mean(layer: Layer, outputs: Iterable[tuple[Tensor, int]]) -> Tensor:
    """The mean of each channel.

    Args:
        layer: The layer.
        outputs: Its outputs, batch by batch, each with the number of samples that one in it stands
            for, if it is the mean of a batch.
    """
    total, count = 0.0, 0
    for y, samples in outputs:
        flat = y.movedim(layer.channel_axis, 0).reshape(y.shape[layer.channel_axis], -1)
        times = samples if _has_batch(layer, y) else 1
        total, count = total + times * flat.sum(1), count + times * flat.shape[1]
    assert isinstance(total, Tensor)
    return total / count
