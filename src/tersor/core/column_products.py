"""Σ x xᵀ, Σ y xᵀ and Σ x over columns that come in parts: what a Gram matrix is made of.

    Σ z zᵀ = Σ q qᵀ − c (Σ z 1ᵀ + 1 Σ zᵀ) − c² n        x = s z,  z = q − c,  −128 ≤ q ≤ 127

Columns x that were rounded to 8 bits are multiplied as integers, which many processors do several
times as fast as floats. Their sums are exact. Each row of y is rounded to 16 bits for that, two
digits of 8 bits.
"""

import sys

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from tersor.core import integer_kernels
from tersor.core.codes import Codes

aten = torch.ops.aten
_ROWS = 128  # of a block of the matrix
_INTEGER_ROWS = 256  # the same for integers
_AT_ONCE = 2048  # columns of integers that are multiplied at once
_MOST = 1 << 16  # columns whose sums stay within 32 bits: 2¹⁶ · 128² = 2³⁰
_FEW = 128  # inputs up to which floats are as fast
_DIGIT = 256  # y = 256 a + b,  −128 ≤ a, b ≤ 127
_LARGEST = 127 * _DIGIT + 127
_UPPER = int(sys.byteorder == "little")  # place of the upper one of two bytes

Inputs = Float[Tensor, "groups inputs columns"]
Outputs = Float[Tensor, "groups outputs columns"]
Sums = tuple[
    Float[Tensor, "groups inputs inputs"],
    Float[Tensor, "groups outputs inputs"],
    Float[Tensor, "groups inputs"],
]


class FloatProducts:
    """The sums of floats."""

    def __init__(self, x: Inputs, y: Outputs) -> None:
        """Start with sums of 0.

        Args:
            x: Inputs of the right shape.
            y: Outputs of the right shape.
        """
        groups, inputs = x.shape[:2]
        self._half = x.new_zeros(groups, inputs, inputs)
        self._cross = x.new_zeros(groups, y.shape[1], inputs)
        self._inputs = x.new_zeros(groups, inputs)

    def add(self, x: Inputs, y: Outputs) -> None:
        """Add some columns.

        Args:
            x: Inputs.
            y: Outputs.
        """
        for start in range(0, x.shape[1], _ROWS):
            stop = start + _ROWS
            self._half[:, start:stop, :stop].baddbmm_(x[:, start:stop], x[:, :stop].mT)
        self._cross.baddbmm_(y, x.mT)
        self._inputs += x.sum(-1)

    def sums(self) -> Sums:
        """Σ x xᵀ, Σ y xᵀ and Σ x of what was added; nothing more can be."""
        return _mirrored(self._half), self._cross, self._inputs


class IntegerProducts:
    """The sums of one group that was rounded to 8 bits with one scale."""

    def __init__(self, x: Codes, y: Outputs) -> None:
        """Start with sums of 0.

        Args:
            x: Integers of the right shape; see `multiplies_fast`.
            y: Outputs of the right shape.
        """
        inputs, self._zero_point = x.integers.shape[1], int(x.zero_point)
        self._centre = self._zero_point - 128 * (x.integers.dtype == torch.uint8)
        self._scale = x.scale.to(y)
        self._half: Tensor | None = None
        self._cross, self._inputs = y.new_zeros(y.shape[1], inputs), y.new_zeros(inputs)
        self._recent = y.new_zeros(inputs, inputs, dtype=torch.int32)
        self._count, self._of_recent = 0, y.new_zeros(inputs, dtype=torch.float64)
        self._waiting: list[tuple[Tensor, Tensor]] = []

    def add(self, x: Tensor, y: Outputs) -> None:
        """Add some columns.

        Args:
            x: Integers of the inputs, `[1, inputs, columns]`.
            y: Outputs.
        """
        for part in zip(x[0].split(_AT_ONCE, 1), y[0].split(_AT_ONCE, 1), strict=True):
            self._waiting.append(part)
            if sum(each.shape[1] for each, _ in self._waiting) >= _AT_ONCE:
                self._multiply()

    def sums(self) -> Sums:
        """Σ x xᵀ, Σ y xᵀ and Σ x of what was added; nothing more can be."""
        self._multiply()
        half = self._settled().mul_(self._scale.square())
        cross, inputs = self._cross.mul_(self._scale), self._inputs * self._scale
        return _mirrored(half[None]), cross[None], inputs[None]

    def _multiply(self) -> None:
        """Multiply the columns that wait, fewer than twice `_AT_ONCE`."""
        if not self._waiting:
            return
        x, y = (_joined(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting = []
        if self._count + x.shape[1] > _MOST:
            self._half = self._settled()
        x = x if x.dtype == torch.int8 else x.bitwise_xor(128).view(torch.int8)
        rows, scale = _digits(y)
        sums = rows.sum(1, keepdim=True, dtype=torch.int32)
        found = aten._int_mm(rows, x.mT)
        self._of_recent += found[-1] - self._centre * x.shape[1]
        high, low = (found - self._centre * sums)[:-1].to(y).chunk(2)
        self._cross += high.mul_(_DIGIT).add_(low).mul_(scale)
        for start in range(0, len(x), _INTEGER_ROWS):
            stop = start + _INTEGER_ROWS
            self._recent[start:stop, :stop] += aten._int_mm(x[start:stop], x[:stop].mT)
        self._count += x.shape[1]

    def _settled(self) -> Tensor:
        """The triangle in floating point, with what was added to the one of 32 bits."""
        centre, sums = self._centre, self._of_recent
        half = torch.empty_like(self._recent, dtype=self._cross.dtype)
        for start in range(0, len(sums), _INTEGER_ROWS):
            rows, left = slice(start, start + _INTEGER_ROWS), slice(start + _INTEGER_ROWS)
            means = centre * (sums[rows, None] + sums[left]) + centre**2 * self._count
            half[rows, left] = self._recent[rows, left] - means
        self._inputs += sums
        self._recent.zero_()
        self._of_recent.zero_()
        self._count = 0
        return half if self._half is None else half.add_(self._half)


Products = FloatProducts | IntegerProducts


def has_bytes(x: Codes) -> bool:
    """Whether integers take a byte each and have one scale.

    Args:
        x: The integers.
    """
    return x.axis is None and x.integers.dtype in (torch.int8, torch.uint8)


def multiplies_fast(x: Codes, groups: int, inputs: int) -> bool:
    """Whether columns are multiplied faster as integers than as floats.

    Args:
        x: What they are made of.
        groups: How many groups they have.
        inputs: How many inputs each of these has.
    """
    is_one = groups == 1 and inputs > _FEW and x.integers.device.type == "cpu"
    return is_one and has_bytes(x) and integer_kernels.are_fast()


def _joined(parts: tuple[Tensor, ...]) -> Tensor:
    """Columns one after the other, as they lie in memory: row by row or column by column."""
    if len(parts) == 1:
        return parts[0]
    by_column = parts[0].stride(0) == 1
    return torch.cat([x.mT for x in parts]).mT if by_column else torch.cat(parts, 1)


def _digits(
    y: Float[Tensor, "outputs columns"],
) -> tuple[Int8[Tensor, "rows columns"], Float[Tensor, "outputs 1"]]:
    """The first digits of all rows, then the second ones, and a row of ones; the last digits' unit.

    The second digit is the lower byte of a number of 16 bits, and the first one is the upper byte
    of what is half of 256 larger. A row of 0 has any unit, and no unit is smaller than the smallest
    normal number.
    """
    scale = y.abs().amax(1, keepdim=True).div_(_LARGEST).clamp_(min=torch.finfo(y.dtype).tiny)
    units = (y / scale).round_().to(torch.int16)
    by_column = y.stride(0) == 1  # in whatever order numbers lie, as copies in another are slow
    units = (units.mT if by_column else units).contiguous()
    high, low = (number.view(torch.int8) for number in (units + _DIGIT // 2, units))
    size = (len(units), 1) if by_column else (1, units.shape[1])
    digits = high[:, _UPPER::2], low[:, 1 - _UPPER :: 2], high.new_ones(size)
    rows = torch.cat(digits, int(by_column))
    return (rows.mT if by_column else rows), scale


def _mirrored(half: Tensor) -> Tensor:
    """The symmetric matrix of a lower triangle, block by block, as far apart as numbers lie."""
    for start in range(0, half.shape[1], _ROWS):
        inside = slice(start, start + _ROWS)
        square = half[:, inside, inside]
        square.tril_().add_(square.tril(-1).mT)
        half[:, :start, inside] = half[:, inside, :start].mT
    return half
