"""Damping and freezing of oscillating weights in training: see `tersor.core.oscillation`.

Overcoming Oscillations, arXiv 2203.11086, §4. Differs from the paper in nothing we know of; λ and
the thresholds follow half a cosine, as in the authors' own code
(github.com/Qualcomm-AI-research/oscillations-qat).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from tersor.checked import PositiveOrZero, Share, checked
from tersor.core.affine import quantize
from tersor.core.oscillation import Oscillation, distance_to_grid
from tersor.core.soft_rounding import annealed
from tersor.graph.network import Network
from tersor.graph.nodes import source
from tersor.quant.lsq import LearnedQuantize

_NARROW = 8  # weights of so many bits hardly oscillate


@checked()
@dataclass(frozen=True)
class Damping:
    """λ rises from `first` to `last`."""

    first: PositiveOrZero = 0.0
    last: PositiveOrZero = 0.1

    def at(self, progress: float) -> float:
        """λ at this progress of the training."""
        return annealed(progress, self.first, self.last)


@checked()
@dataclass(frozen=True)
class Freezing:
    """The threshold falls from `first` to `last`.

    Attributes:
        first: Frequency above which a weight is frozen at the beginning.
        last: Frequency above which a weight is frozen at the end.
        momentum: m, of the frequency and of the mean integer.
    """

    first: Share = 0.1
    last: Share = 0.01
    momentum: Share = 0.01

    def at(self, progress: float) -> float:
        """The threshold at this progress of the training."""
        return annealed(progress, self.first, self.last)


@dataclass
class WatchedWeight:
    """A weight of few bits, with its quantizer.

    Attributes:
        name: Name of the weight.
        weight: The trained weight.
        quantizer: Its quantizer.
    """

    name: str
    weight: nn.Parameter
    quantizer: LearnedQuantize

    def along(self, values: Tensor) -> Tensor:
        """Shape one value per channel to broadcast over the weight."""
        axis = self.quantizer.axis
        if axis is None:
            return values
        return values.view([-1 if i == axis else 1 for i in range(self.weight.ndim)])

    def integers(self) -> Tensor:
        """w_int."""
        scale = self.quantizer.scale.detach()
        zero = torch.zeros_like(scale)
        return quantize(self.weight.detach(), scale, zero, self.quantizer.grid, self.quantizer.axis)


def watched_weights(network: Network) -> list[WatchedWeight]:
    """List every weight of few bits, once.

    Args:
        network: A network in training.
    """
    found: dict[str, WatchedWeight] = {}
    for node in network.nodes():
        stored = source(node)
        if node.op == "call_module" and stored.op == "get_attr":
            each = _watched(network, node, stored)
            if each is not None:
                found.setdefault(each.name, each)
    return list(found.values())


def _watched(network: Network, node: fx.Node, stored: fx.Node) -> WatchedWeight | None:
    quantizer = network.module.get_submodule(str(node.target))
    weight = network.tensor(stored)
    if not isinstance(quantizer, LearnedQuantize) or not isinstance(weight, nn.Parameter):
        return None
    return (
        WatchedWeight(str(stored.target), weight, quantizer)
        if quantizer.grid.bits < _NARROW
        else None
    )


def damping_loss(found: list[WatchedWeight], strength: float) -> Tensor | float:
    """λ · Σ ‖clip(w, s·n, s·p) − ŵ‖².

    Args:
        found: The weights.
        strength: λ.
    """
    total: Tensor | float = 0.0
    for each in found:
        scale, grid = each.along(each.quantizer.scale.detach()), each.quantizer.grid
        rounded = each.integers() * scale
        total = total + distance_to_grid(each.weight, rounded, scale * grid.qmin, scale * grid.qmax)
    return strength * total


class Freezer:
    """Watches all weights, and freezes those that oscillate.

    Attributes:
        watched_weights: The weights.
        seen: The state of each.
        frozen: The integer of each frozen weight; NaN if it is free.
    """

    def __init__(self, found: list[WatchedWeight]) -> None:
        self.watched = found
        self.seen = [Oscillation.begin(each.integers()) for each in found]
        self.frozen = [torch.full_like(each.weight, math.nan) for each in found]

    @torch.no_grad()
    def step(self, options: Freezing, progress: float) -> None:
        """Update the states after a step of the optimizer.

        Args:
            options: See `Freezing`.
            progress: Share of the training that is done.
        """
        for index, (each, seen) in enumerate(zip(self.watched, self.seen, strict=True)):
            held = self.frozen[index]
            each.weight.copy_(torch.where(held.isnan(), each.weight, held * self._step(each)))
            seen.observe(each.integers(), options.momentum)
            new = seen.exceeds(options.at(progress)) & held.isnan()
            self.frozen[index] = held = torch.where(new, seen.mean.round(), held)
            each.weight.copy_(torch.where(held.isnan(), each.weight, held * self._step(each)))

    @property
    def share(self) -> float:
        """Share of the weights that are frozen."""
        total = sum(held.numel() for held in self.frozen)
        return sum(int((~held.isnan()).sum()) for held in self.frozen) / max(total, 1)

    def state(self) -> dict[str, Tensor]:
        """The whole state, for a checkpoint."""
        found = {}
        for each, seen, held in zip(self.watched, self.seen, self.frozen, strict=True):
            found |= {f"{each.name}.{key}": value for key, value in vars(seen).items()}
            found[f"{each.name}.frozen"] = held
        return found

    def _step(self, each: WatchedWeight) -> Tensor:
        return each.along(each.quantizer.scale.detach())
