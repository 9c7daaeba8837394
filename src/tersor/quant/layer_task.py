"""One layer of a network to be rounded, with what it reads and what it should write."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tersor.core.lattice import Scales
from tersor.core.quadratic import Weights
from tersor.data.gram import Moments, moments_of
from tersor.graph.layers import Layer
from tersor.quant.place import weight_quantizer
from tersor.quant.quantizer import FakeQuantize


@dataclass(frozen=True)
class LayerTask:
    """One layer whose weight is to be rounded, and what the data say about it.

    Attributes:
        layer: The layer; its weight and bias are still those of the float network.
        quantizer: The quantizer of its weight, with a range.
        given: x̂ of every batch.
        wanted: y of every batch, bias included.
        missing: What the other side of an addition lacks, for every batch, if the output is added
            to something that is quantized already.
        held_back: How many batches, the last ones, are there to check the result on.
        seed: Seed of this layer.
    """

    layer: Layer
    quantizer: FakeQuantize
    given: list[Tensor] = field(repr=False)
    wanted: list[Tensor] = field(repr=False)
    missing: list[Tensor] | None = field(repr=False)
    held_back: int
    seed: int

    @property
    def used(self) -> slice:
        """The batches to round with."""
        return slice(0, len(self.given) - self.held_back)

    @property
    def judges(self) -> slice:
        """The batches to check the result on: those held back, or all if none are."""
        return slice(len(self.given) - self.held_back, None) if self.held_back else self.used

    @property
    def weights(self) -> Weights:
        """The float weights, kernels flattened into the inputs."""
        return self.layer.grouped_weight().flatten(2)

    @property
    def scale(self) -> Scales:
        """The scale of every output, also where all have the same."""
        groups, outputs = self.layer.grouped_weight().shape[:2]
        return self.quantizer.scale.expand(groups * outputs).reshape(groups, outputs)

    @property
    def shares_scale(self) -> bool:
        """Whether all outputs have one scale."""
        return self.quantizer.axis is None

    def nearest(self) -> Weights:
        """The weights, each at its nearest value of the grid."""
        grid, step = self.quantizer.grid, self.scale[..., None]
        return (self.weights / step).round().clamp(grid.qmin, grid.qmax) * step

    def store(self, rounded: Weights, scale: Scales | None = None) -> None:
        """Put weights on the grid into the network.

        Args:
            rounded: Weights, multiples of their scale.
            scale: New scales, if they have changed.
        """
        self.layer.set_grouped_weight(rounded.reshape(self.layer.grouped_weight().shape))
        if scale is not None:
            flat = scale.flatten()
            flat = flat[0] if self.shares_scale else flat
            self.quantizer.set_scale(flat, self.quantizer.zero_point)

    def shift_bias(self, shift: Tensor) -> None:
        """Add to the bias, which a layer without one then gets.

        Args:
            shift: One number for each output.
        """
        shift = shift.flatten()
        self.layer.add_to_bias(shift)

    def moments(self, batches: slice, positions: int) -> Moments:
        """All that the fast solver needs of the data, in one pass over them.

        Args:
            batches: Which batches.
            positions: How many output positions to sample in all batches of the task.
        """
        given, wanted = self.given[batches], self.wanted[batches]
        missing = self.missing[batches] if self.missing is not None else [0.0] * len(given)
        pairs = ((x, y + lack) for x, y, lack in zip(given, wanted, missing, strict=True))
        count = math.ceil(positions / sum(map(len, self.given)))
        return moments_of(self.layer, pairs, count, torch.Generator().manual_seed(self.seed))


def state(layer: Layer) -> dict[str, Tensor]:
    """All of a layer that a solver may change."""
    quantizer = weight_quantizer(layer)
    found = {"weight": layer.grouped_weight().detach()}
    if quantizer is not None and quantizer.enabled:
        found["scale"] = quantizer.scale
    return found if layer.bias is None else {**found, "bias": layer.bias.detach()}


def restore(layer: Layer, found: dict[str, Tensor]) -> None:
    """Put back what `state` gave.

    Args:
        layer: The layer.
        found: What `state` gave, on any device.
    """
    device, quantizer = layer.weight.device, weight_quantizer(layer)
    layer.set_grouped_weight(found["weight"].to(device))
    if quantizer is not None and "scale" in found:
        quantizer.set_scale(found["scale"].to(device), quantizer.zero_point)
    if "bias" in found:
        layer.set_bias(found["bias"].to(device))
