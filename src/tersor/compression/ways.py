"""The ways to compress a part of a network: a chain, a pruned group, a branch that is left out."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool
from torch import Tensor

from tersor.compression.residual_branches import Branch
from tersor.names import Method


@dataclass(frozen=True)
class Factored:
    """A layer that becomes a chain.

    Attributes:
        layer: Its name.
        method: The decomposition.
        ratio: Largest share of its MACs that remains, before ranks are made multiples.
        ranks: The ranks at that share.
        multiple: Ranks are multiples of this number.
    """

    layer: str
    method: Method
    ratio: float
    ranks: tuple[int, ...]
    multiple: int = 1


@dataclass(frozen=True)
class Pruned:
    """A pruned group.

    Attributes:
        group: Its name.
        keep: Which of its units stay.
        multiple: The number of units that stay is a multiple of this number.
    """

    group: str
    keep: tuple[bool, ...] = field(repr=False)
    multiple: int = 1

    @property
    def mask(self) -> Bool[Tensor, " units"]:
        """The units that stay, as a tensor."""
        return torch.tensor(self.keep)


@dataclass(frozen=True)
class Dropped:
    """A residual branch that is left out.

    Attributes:
        branch: The branch.
    """

    branch: Branch


Way = Factored | Pruned | Dropped


def masks_of(ways: Iterable[Way]) -> dict[str, Tensor]:
    """Collect the masks of pruned groups, by name, for `prune_groups`.

    Args:
        ways: The ways; those that are not pruning are ignored.
    """
    return {way.group: way.mask for way in ways if isinstance(way, Pruned)}


def dropped_in(ways: Iterable[Way]) -> list[Branch]:
    """Collect the branches that are left out.

    Args:
        ways: The ways; those that drop no branch are ignored.
    """
    return [way.branch for way in ways if isinstance(way, Dropped)]
