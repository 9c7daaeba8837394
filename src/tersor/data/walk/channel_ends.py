"""The range of each channel of a value, and rows of it from other samples, to judge a choice by."""

from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor

Ends = tuple[Tensor, Tensor]
_HELD = 4  # every fourth sample is held back


class ChannelEnds:
    """The smallest and largest value of each channel, which is the last axis, over some samples.

    Every fourth sample is held back: its rows judge what is chosen by the ranges of the others.
    """

    def __init__(self, rows: int) -> None:
        """Start with no sample.

        Args:
            rows: The most rows to keep of one batch.
        """
        self._most = rows
        self._count = 0
        self._rows: list[Tensor] = []
        self._ends: dict[bool, Ends] = {}

    def __call__(self, value: Float[Tensor, "..."]) -> None:
        """Add one batch of values, with samples along the first axis."""
        samples = value.reshape(len(value) if value.ndim > 1 else 1, -1, value.shape[-1])
        is_held = torch.arange(self._count, self._count + len(samples)) % _HELD == _HELD - 1
        self._count += len(samples)
        lows, highs = samples.amin(1), samples.amax(1)  # far faster than `aminmax` of an axis
        for held in (False, True):
            part = is_held == held
            if bool(part.any()):
                self._widen(held, lows[part].amin(0), highs[part].amax(0))
        rows = samples[is_held].flatten(0, 1)
        self._rows.append(rows[:: max(1, ceil(len(rows) / self._most))].clone())

    def _widen(self, held: bool, low: Tensor, high: Tensor) -> None:
        if held in self._ends:
            low = torch.minimum(low, self._ends[held][0])
            high = torch.maximum(high, self._ends[held][1])
        self._ends[held] = low, high

    @property
    def is_enough(self) -> bool:
        """Whether there are samples of both kinds."""
        return len(self._ends) == 2

    @property
    def rows(self) -> Float[Tensor, "rows channels"]:
        """Rows of the samples that are held back."""
        return torch.cat(self._rows)

    @property
    def others(self) -> Ends:
        """Smallest and largest value of each channel in the samples that are not held back."""
        return self._ends[False]

    @property
    def all(self) -> Ends:
        """Smallest and largest value of each channel in all samples."""
        lows, highs = zip(*self._ends.values(), strict=True)
        return torch.stack(lows).amin(0), torch.stack(highs).amax(0)
