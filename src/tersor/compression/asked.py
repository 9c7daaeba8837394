"""A budget as the user gave it, so that an error message can name it in the same unit."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tersor.compression.budget import TooSmallError
from tersor.compression.meter import Unit
from tersor.errors import InvalidInputError
from tersor.graph.costs import Cost

_MEGABYTE = 250_000  # numbers of 4 bytes each
_DIGITS = 1000  # messages round shares and megabytes up to 1 / _DIGITS


@dataclass(frozen=True)
class Asked:
    """The cost that may remain of a network.

    Attributes:
        name: The name of the argument: `macs`, `parameters` or `megabytes`.
        value: A number; for the first two also a share, if it is at most 1.
        whole: The cost of the network before compression.
        purpose: What the budget is for, if it is not the user's own.
    """

    name: str
    value: float
    whole: Cost
    purpose: str = ""

    @property
    def unit(self) -> Unit:
        """The unit that is counted."""
        return "macs" if self.name == "macs" else "parameters"

    @property
    def most(self) -> int:
        """The budget in that unit."""
        return int(self.value * self._one)

    def before_gates(self, part: float) -> "Asked":
        """The budget of the methods that come before gates.

        Args:
            part: Their share of the reduction; see `Gating.others`.
        """
        share = (self.most / getattr(self.whole, self.unit)) ** part
        purpose = f" before gates, with Gating(others={part:g}),"
        return replace(self, value=min(share, 1.0), purpose=purpose)

    @property
    def _is_share(self) -> bool:
        return self.name != "megabytes" and self.value <= 1

    @property
    def _one(self) -> int:
        """How many units correspond to a value of 1."""
        if self.name == "megabytes":
            return _MEGABYTE
        return getattr(self.whole, self.unit) if self._is_share else 1

    @contextmanager
    def told(self) -> Iterator[None]:
        """Report a budget that is too small in the unit that the user gave.

        Raises:
            InvalidInputError: The budget is too small.
        """
        try:
            yield
        except TooSmallError as error:
            least = error.least / self._one
            if self._one == 1:
                given, reached = f"{self.value:,.0f}", f"{error.least:,}"
            else:
                given, reached = f"{self.value:g}", f"{math.ceil(least * _DIGITS) / _DIGITS:g}"
            what = "share" if self._is_share else "budget"
            raise InvalidInputError(
                f"{self.name}={given}{self.purpose} is too small: the smallest value reached is "
                f"{reached}. Give a larger {what}, or allow more methods"
            ) from error
