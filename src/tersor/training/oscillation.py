"""Damping and freezing of oscillating weights in training: see `tersor.core.oscillation`.

Overcoming Oscillations, arXiv 2203.11086, §4. Differs from the paper in nothing we know of; λ and
the thresholds follow half a cosine, as in the authors' own code
(github.com/Qualcomm-AI-research/oscillations-qat).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from tersor.core.affine import quantize
from tersor.core.oscillation import Oscillation, distance_to_grid
from tersor.core.soft_rounding import annealed
from tersor.graph.network import Network
from tersor.graph.nodes import source
from tersor.quant.lsq import LearnedQuantize

_NARROW = 8  # weights of so many bits hardly oscillate


@dataclass(frozen=True)
class Damping:
    """λ rises from `first` to `last`."""

    first: float = 0.0
    last: float = 0.1

    def at(self, progress: float) -> float:
        """λ at this progress of the training."""
        return annealed(progress, self.first, self.last)


@dataclass(frozen=True)
class Freezing:
    """The threshold falls from `first` to `last`.

    Attributes:
        first: Frequency above which a weight is frozen at the beginning.
        last: Frequency above which a weight is frozen at the end.
        momentum: m, of the frequency and of the mean integer.
    """

    first: float = 0.1
    last: float = 0.01
    momentum: float = 0.01

    def at(self, progress: float) -> float:
        """The threshold at this progress of the training."""
        return annealed(progress, self.first, self.last)


@dataclass
class Site:
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


def sites(network: Network) -> list[Site]:
    """List every weight of few bits, once.

    Args:
        network: A network in training.
    """
    found: dict[str, Site] = {}
    for node in network.nodes():
        stored = source(node)
        if node.op == "call_module" and stored.op == "get_attr":
            site = _site(network, node, stored)
            if site is not None:
                found.setdefault(site.name, site)
    return list(found.values())


def _site(network: Network, node: fx.Node, stored: fx.Node) -> Site | None:
    quantizer = network.module.get_submodule(str(node.target))
    weight = network.tensor(stored)
    if not isinstance(quantizer, LearnedQuantize) or not isinstance(weight, nn.Parameter):
        return None
    return Site(str(stored.target), weight, quantizer) if quantizer.grid.bits < _NARROW else None


def damping_loss(found: list[Site], strength: float) -> Tensor | float:
    """λ · Σ ‖clip(w, s·n, s·p) − ŵ‖².

    Args:
        found: The weights.
        strength: λ.
    """
    total: Tensor | float = 0.0
    for site in found:
        scale, grid = site.along(site.quantizer.scale.detach()), site.quantizer.grid
        rounded = site.integers() * scale
        total = total + distance_to_grid(site.weight, rounded, scale * grid.qmin, scale * grid.qmax)
    return strength * total


class Freezer:
    """Watches all weights, and freezes those that oscillate.

    Attributes:
        sites: The weights.
        seen: The state of each.
        frozen: The integer of each frozen weight; NaN if it is free.
    """

    def __init__(self, found: list[Site]) -> None:
        self.sites = found
        self.seen = [Oscillation.begin(site.integers()) for site in found]
        self.frozen = [torch.full_like(site.weight, math.nan) for site in found]

    @torch.no_grad()
    def step(self, options: Freezing, progress: float) -> None:
        """Update the states after a step of the optimizer.

        Args:
            options: See `Freezing`.
            progress: Share of the training that is done.
        """
        for index, (site, seen) in enumerate(zip(self.sites, self.seen, strict=True)):
            held = self.frozen[index]
            site.weight.copy_(torch.where(held.isnan(), site.weight, held * self._step(site)))
            seen.observe(site.integers(), options.momentum)
            new = seen.exceeds(options.at(progress)) & held.isnan()
            self.frozen[index] = held = torch.where(new, seen.mean.round(), held)
            site.weight.copy_(torch.where(held.isnan(), site.weight, held * self._step(site)))

    @property
    def share(self) -> float:
        """Share of the weights that are frozen."""
        total = sum(held.numel() for held in self.frozen)
        return sum(int((~held.isnan()).sum()) for held in self.frozen) / max(total, 1)

    def state(self) -> dict[str, Tensor]:
        """The whole state, for a checkpoint."""
        found = {}
        for site, seen, held in zip(self.sites, self.seen, self.frozen, strict=True):
            found |= {f"{site.name}.{key}": value for key, value in vars(seen).items()}
            found[f"{site.name}.frozen"] = held
        return found

    def _step(self, site: Site) -> Tensor:
        return site.along(site.quantizer.scale.detach())
