"""s_i = √(r¹_i / r²_i): the per-channel scale that gives two layers the same channel ranges.

DFQ, arXiv 1906.04721, §4.1 and appendix A: for `y = W₂ f(W₁ x)` with `f(s·x) = s·f(x)`, dividing
the rows of W₁ by s and multiplying the columns of W₂ by s leaves the function unchanged, and this s
maximizes the precision of all channels together: both ranges become √(r¹_i · r²_i).

With the range a_i that each channel's activations take, the scale becomes, up to one factor for
the whole layer,

    log s_i = (1 − 2α) log a_i + α (log r¹_i − log r²_i):

At α = ½ this is the paper's scale. At α = 0 all activations get the same range, so that one
activation step size serves all channels, too. In between, weights and activations share the
imbalance.

Differs from the paper in: activations count (α < ½). A channel may have any number of producers and
consumers (residual joins, concatenation); their ranges are replaced by geometric means over those
that are not zero, which is the paper's formula if there is one of each. A dead channel is given a
typical range.
"""

from math import log, pi, sin

import torch
from jaxtyping import Float
from torch import Tensor

LARGEST_DRIFT = log(8.0)
"""How far α may move a scale from a_i, against the layer's median: three bits of the activations.

Channels that hardly vary have tiny weights, and would be enlarged beyond all others without it.
"""


def equalizing_scale(
    produced: Float[Tensor, "producers channels"],
    consumed: Float[Tensor, "consumers channels"],
    carried: Float[Tensor, " channels"] | None = None,
    strength: float = 0.5,
) -> Float[Tensor, " channels"]:
    """Compute the scale that divides each channel where produced and multiplies it where read.

    Args:
        produced: max |W| of each channel in each layer that produces it.
        consumed: max |W| of each channel in each layer that reads it.
        carried: Range of each channel's activations, 0 where unknown; None ignores activations.
        strength: α, from 0 (activations only) to ½ (weights only).

    Returns:
        One positive scale per channel. A dead channel, which nothing produces or nothing reads, has
        one range only; it becomes the median of the other channels' equalized ranges.
    """
    first, second = _mean_log(produced), _mean_log(consumed)
    typical = ((first + second) / 2).nanmedian()
    only_first, only_second = first - typical, typical - second
    log_scale = ((first - second) / 2).where(~second.isnan(), only_first)
    log_scale = log_scale.where(~first.isnan(), only_second).nan_to_num(0.0)
    if carried is not None and strength < 0.5 and bool((carried > 0).any()):
        log_scale = _anchored(log_scale, carried, strength)
    return log_scale.exp()


def _anchored(
    log_scale: Float[Tensor, " channels"], carried: Float[Tensor, " channels"], strength: float
) -> Float[Tensor, " channels"]:
    """The paper's logarithmic scale, drawn towards the activation ranges."""
    anchor = carried.where(carried > 0, torch.nan).log()
    anchor = anchor.where(~anchor.isnan(), anchor.nanmedian())
    drift = 2 * strength * (log_scale - anchor)
    return anchor + (drift - drift.median()).clamp(-LARGEST_DRIFT, LARGEST_DRIFT)


def _mean_log(ranges: Float[Tensor, "layers channels"]) -> Float[Tensor, " channels"]:
    """The mean over the layers in which a channel is not zero; NaN if there is none."""
    alive = ranges > 0
    return torch.where(alive, ranges, 1.0).log().sum(0) / alive.sum(0)


def over_relaxation(pairs: int) -> float:
    """ω = 2 / (1 + sin(π / (n + 1))): the factor that lengthens the steps of equalization.

    Scaling a whole layer moves ranges only to its neighbours, so without it a chain of n pairs
    of layers needs about n² sweeps to even them out. This is the optimal factor of successive
    over-relaxation for such a chain (Young 1954).
    """
    return 2 / (1 + sin(pi / (pairs + 1)))
