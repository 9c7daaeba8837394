"""Widens a range for what a few samples have not shown.

    high + σ √6/π · ln(N / n)      σ: deviation of the largest value of one sample

The largest of n values that fall off like an exponential grows by this much, on average, until
there are N (Gumbel's distribution). Eight pictures without a face say little about how large a
value becomes where there is one: every face would be cut off at the same score. With 64 samples or
more, the range is that of the samples.
"""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.core.histogram import Ends
from tersor.core.ranges import row_ends

aten = torch.ops.aten

ENOUGH = 64  # samples
_ROWS = 2  # axes of values without places, whose channels lie next to each other in any case
_GUMBEL = math.sqrt(6) / math.pi
# What has bounds of its own, and inputs, whose range is that of their type or preparation.
_BOUNDED = frozenset(
    {
        aten.clamp.default,
        aten.hardsigmoid.default,
        aten.hardtanh.default,
        aten.relu6.default,
        aten.sigmoid.default,
        aten.softmax.int,
        aten._softmax.default,
        aten.tanh.default,
    }
)


class SampleExtremes:
    """The smallest and largest value of every sample seen so far.

    They are kept as numbers: small tensors between large ones would tear the memory to pieces.
    """

    def __init__(self) -> None:
        """Start with no sample."""
        self._ends: list[list[float]] = [[], []]
        self._like = torch.empty(0)

    def __call__(self, value: Float[Tensor, "..."]) -> None:
        """Add one batch of values, with samples along the first axis."""
        value = as_it_lies(value)  # in which order does not matter
        ends = row_ends(value.reshape(len(value) if value.ndim else 1, -1))
        for known, found in zip(self._ends, ends, strict=True):
            known += found.tolist()
        self._like = value.new_empty(0)

    @classmethod
    def joined(cls, parts: Iterable["SampleExtremes"]) -> "SampleExtremes":
        """What was seen by several, one after the other; there is one at least."""
        whole = cls()
        for part in parts:
            for known, found in zip(whole._ends, part._ends, strict=True):
                known += found
            whole._like = part._like
        return whole

    def ends(self) -> Ends:
        """The smallest and largest value of all."""
        lows, highs = map(self._like.new_tensor, self._ends)
        return lows.min(), highs.max()

    def widened(self) -> Ends:
        """The ends that are expected for `ENOUGH` samples; those seen, if there are as many."""
        low, high = self.ends()
        lows, highs = map(self._like.new_tensor, self._ends)
        if not 1 < len(lows) < ENOUGH:
            return low, high
        factor = _GUMBEL * math.log(ENOUGH / len(lows))
        return low - factor * lows.std(), high + factor * highs.std()


def as_it_lies(value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """A value with its channels last if they lie next to each other, so that it can be flattened.

    Args:
        value: A batch of values.
    """
    lies = value.movedim(1, -1) if value.ndim > _ROWS else value
    return lies if lies.is_contiguous() else value


def has_margin(value: fx.Node) -> bool:
    """Whether values beyond those of the samples may come.

    Args:
        value: An activation.
    """
    return value.op != "placeholder" and value.target not in _BOUNDED
