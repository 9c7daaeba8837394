"""Formats numbers for people."""

import math
from collections.abc import Sequence

_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_EQUAL = 119.0  # dB: the rest is rounding errors of float32


def shape(sizes: Sequence[int]) -> str:
    """`3×224×224`."""
    return "×".join(map(str, sizes)) or "1"


def count(number: int | float) -> str:
    """`12.3 M`."""
    for unit, letter in _UNITS:
        if number >= unit:
            return f"{number / unit:.3g} {letter}"
    return f"{number:g}"


def megabytes(size: int | float) -> str:
    """`4.91 MB`."""
    return f"{size / 1e6:.2f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def milliseconds(time: int | float) -> str:
    """`8.31 ms`."""
    return f"{time:.3g} ms" if time < 1000 else f"{time / 1000:.3g} s"


def percent(share: int | float) -> str:
    """`98.4 %`; 100 % only if it is exactly that."""
    return f"{100 * share:.4g} %" if share == 1 or share <= 0.9999 else "99.99 %"


def decibels(value: int | float | None) -> str:
    """`31.2`; values beyond the precision of float32 count as equal."""
    if value is None:
        return ""
    return "equal" if value >= _EQUAL else f"{value:.1f}"


def times(ratio: int | float) -> str:
    """`3.85×`."""
    return f"{ratio:.3g}×" if math.isfinite(ratio) else "∞"


def noise(value: int | float) -> str:
    """Convert SQNR in dB to noise as a share of the outputs: 40 dB is 1 %."""
    return f"{100 * 10 ** (-value / 20):.2g} %"
