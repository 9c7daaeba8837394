"""A few numbers that tell how far two large arrays are apart.

    p_k(x) = Σ_i s_ki x_i   with random signs s_ki = ±1   ⇒   E[(p_k(x) − p_k(y))²] = ‖x − y‖²

The signs, and the uniform numbers beside them, come from a counter (SplitMix64: Steele, Lea and
Flood 2014, "Fast splittable pseudorandom number generators", figure 15). So they are the same with
every version of NumPy and on every machine.
"""

import numpy as np
from jaxtyping import Float64, UInt64

#: Projections of an array. The distance between two arrays is known to 1/√(count / 2) of itself.
COUNT = 8
_GOLDEN = 0x9E3779B97F4A7C15
_MIXED = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST, _DOUBLE = 31, 11  # bits that are shifted out; of those that a float64 does not hold


def random_bits(count: int, seed: int) -> UInt64[np.ndarray, " count"]:
    """Make 64 random bits for each of `count` numbers.

    Args:
        count: How many.
        seed: Another one gives other bits.
    """
    start = np.uint64((seed << 40) % (1 << 64))
    with np.errstate(over="ignore"):
        found = (np.arange(1, count + 1, dtype=np.uint64) + start) * np.uint64(_GOLDEN)
        for shift, factor in _MIXED:
            found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
    return found ^ (found >> np.uint64(_LAST))


def uniform(count: int, seed: int) -> Float64[np.ndarray, " count"]:
    """Make random numbers from 0 to 1, without 1.

    Args:
        count: How many.
        seed: Another one gives others.
    """
    return (random_bits(count, seed) >> np.uint64(_DOUBLE)) * 2.0**-53


def projections(x: np.ndarray, seed: int) -> Float64[np.ndarray, " projections"]:
    """Compute the projections; what is no finite number counts as 0.

    Args:
        x: Any array of numbers.
        seed: Of the signs.
    """
    flat = np.asarray(x, np.float64).ravel()
    flat = np.where(np.isfinite(flat), flat, 0.0)
    bits = random_bits(flat.size, seed).astype(np.uint8)  # the last of them
    signs = (2.0 * (bits >> np.uint8(k) & np.uint8(1)) - 1.0 for k in range(COUNT))
    return np.array([flat @ sign for sign in signs])
