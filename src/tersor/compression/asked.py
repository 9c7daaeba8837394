"""A budget as the user gave it, so that what is too small is told in the same unit."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tersor.compression.budget import TooSmallError
from tersor.compression.meter import Unit
from tersor.errors import InvalidInputError
from tersor.graph.costs import Cost

_MEGABYTE = 250_000  # numbers of 4 bytes
_DIGITS = 1000  # of shares and megabytes in a message


@dataclass(frozen=True)
class Asked:
    """What may be left of a network.

    Attributes:
        name: The argument: `macs`, `parameters` or `megabytes`.
        value: A number, or for the first two a share, up to 1.
        whole: What the network costs before.
    """

    name: str
    value: float
    whole: Cost

    @property
    def unit(self) -> Unit:
        """What is counted."""
        return "macs" if self.name == "macs" else "parameters"

    @property
    def most(self) -> int:
        """How many of them may be left."""
        return int(self.value * self._one)

    @property
    def _is_share(self) -> bool:
        return self.name != "megabytes" and self.value <= 1

    @property
    def _one(self) -> int:
        """How many of the unit are 1 of what the user gave."""
        if self.name == "megabytes":
            return _MEGABYTE
        return getattr(self.whole, self.unit) if self._is_share else 1

    @contextmanager
    def told(self) -> Iterator[None]:
        """Put what is too small in the user's words.

        Raises:
            InvalidInputError: The budget was too small.
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
                f"{self.name}={given} is too small: the least that was reached is {reached}. "
                f"Give a larger {what}, or allow more methods"
            ) from error
