"""What can be done to a part of a network: a layer becomes a chain, a group loses channels."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool
from torch import Tensor

from tersor.names import Method


@dataclass(frozen=True)
class Factored:
    """A layer as a chain.

    Attributes:
        layer: Its name.
        method: The decomposition.
        ratio: Share of its MACs that is left, at most, before ranks are made multiples.
        ranks: The ranks at that share.
        multiple: Of what ranks are multiples.
    """

    layer: str
    method: Method
    ratio: float
    ranks: tuple[int, ...]
    multiple: int = 1


@dataclass(frozen=True)
class Pruned:
    """A group with fewer channels.

    Attributes:
        group: Its name.
        keep: Which of its units stay.
        multiple: Of what their number is a multiple.
    """

    group: str
    keep: tuple[bool, ...] = field(repr=False)
    multiple: int = 1

    @property
    def mask(self) -> Bool[Tensor, " units"]:
        """The same as a tensor."""
        return torch.tensor(self.keep)


Way = Factored | Pruned


def masks_of(ways: Iterable[Way]) -> dict[str, Tensor]:
    """Name of a group → which of its units stay, for `prune_groups`.

    Args:
        ways: Some ways.
    """
    return {way.group: way.mask for way in ways if isinstance(way, Pruned)}
