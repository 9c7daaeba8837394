"""One block of a network to be rounded, with its inputs and wanted outputs."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tersor.graph.blocks import Block
from tersor.quant.placement.quantizer import FakeQuantize
from tersor.quant.rounding.learnable import Body, Values


@dataclass(frozen=True)
class BlockTask:
    """One block and its data, for every batch.

    Attributes:
        block: The block, in the quantized network.
        weights: The float weight of each layer, by the name of its call.
        given: The inputs of the block once everything before it is quantized.
        ideal: Its inputs in the float network.
        wanted: Its outputs there.
        held_back: Number of batches, the last ones, that are held out to check the result.
    """

    block: Block
    weights: dict[str, Tensor] = field(repr=False)
    given: Values = field(repr=False)
    ideal: Values = field(repr=False)
    wanted: Values = field(repr=False)
    held_back: int

    @property
    def used(self) -> int:
        """The number of batches to learn from."""
        return len(next(iter(self.given.values()))) - self.held_back

    def at(self, values: Values, batch: int) -> Values:
        """The values of one batch."""
        return {node: found[batch] for node, found in values.items()}

    def loss(self, values: Values, batch: int) -> Tensor:
        """The squared error of the outputs for one batch, each as a share of its variance."""
        wanted = self.at(self.wanted, batch)
        pairs = [(values[node], want) for node, want in wanted.items()]
        losses = [(got - want).square().mean() / _variance(want) for got, want in pairs]
        return torch.stack(losses).mean()

    def mixed(self, batch: int, share: float, generator: torch.Generator) -> Values:
        """The inputs of the block, with a share of the elements taken from the float network."""
        given, ideal = self.at(self.given, batch), self.at(self.ideal, batch)
        return {node: mix(value, ideal[node], share, generator) for node, value in given.items()}

    @torch.no_grad()
    def error(self) -> float:
        """The mean loss of the simulation, on held-out batches if there are any."""
        body = Body(self.block, self.block.layers[0].network)
        judges = range(self.used, self.used + self.held_back) or range(self.used)
        values = ((body(self.at(self.given, i), simulate), i) for i in judges)
        return sum(float(self.loss(found, i)) for found, i in values) / len(judges)


def simulate(quantizer: FakeQuantize, x: Tensor) -> Tensor:
    """Compute a quantizer as in the simulation."""
    return quantizer(x)


def mix(value: Any, other: Any, share: float, generator: torch.Generator) -> Any:
    """Replace a random share of the elements of a value by those of another.

    Args:
        value: Anything; only tensors of real numbers are mixed.
        other: What to mix in, of the same shape.
        share: From 0 to 1.
        generator: The source of random numbers.
    """
    if not share or not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    chosen = torch.rand(value.shape, generator=generator) < share
    return torch.where(chosen.to(value.device), other, value)


def _variance(x: Tensor) -> Tensor:
    return x.var(correction=0).clamp(min=torch.finfo(x.dtype).tiny)
