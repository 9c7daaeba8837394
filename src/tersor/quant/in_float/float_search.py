"""Leaves as few layers as possible in floating point so that the outputs stay within a tolerance.

    min Σ price of what stays in float      such that  ‖y − ŷ‖² / ‖y‖² ≤ 10^(−dB/10) for each part

The noise of each quantizer is estimated (`tersor.quant.noise.noise_shares`), and a minimum cut
chooses the calls that stay in float for a bound on the noise (`tersor.quant.placement.kept`). The
network is quantized anew without them and measured. The bound of the cut is tightened until the
outputs are within the tolerance, and then loosened between what was too much and what was enough.
At last layers are put back in turn, and stay in integers if the outputs allow it and no time is
lost. What holds in the simulation is then held in the runtime: see `tersor.quant.in_float.proven`.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.quant.placement.kept import NOTHING, Kept, Mixtures
from tersor.quant.tolerance import Attempt, Measure, Tolerance

_TIGHTER = 0.8  # by which a bound that was missed is tightened beyond the miss
_HOPELESS = 1.5  # what is predicted to exceed the bound so many times is not measured
_STEPS = 3  # between what was too much and what was enough
_INSIDE = 0.15  # of the way: no step is closer to either end
_MISSED = 1.01
_SAME_TIME = 1e-6
_LEAST = 1e-12


def search(
    first: Attempt,
    mixtures: Mixtures,
    measure: Measure,
    tolerance: Tolerance,
) -> Attempt:
    """Find a network that meets the tolerance with few layers in floating point, or the best.

    Args:
        first: Everything in integers.
        mixtures: What can stay in floating point.
        measure: Measures the network with some calls in floating point.
        tolerance: What is wanted.
    """
    best, missed, left = first, first, iter(range(tolerance.trials))
    for attempt in closer(first, mixtures, measure, tolerance, left):
        missed = missed if attempt.meets else attempt
        best = attempt if attempt.worst < best.worst else best
    if not best.meets:
        return best
    best = _between(missed, best, mixtures, measure, left)
    return _put_back(best, mixtures, measure, left)


def closer(
    first: Attempt,
    mixtures: Mixtures,
    measure: Measure,
    tolerance: Tolerance,
    left: Iterator[int],
) -> Iterator[Attempt]:
    """Mixtures of less and less noise, until one meets the tolerance.

    Args:
        first: What was measured last, with the calls that it has in floating point.
        mixtures: As for `search`.
        measure: As for `search`.
        tolerance: As for `search`.
        left: An item for each mixture that may be measured.
    """
    attempt, wanted, tried = first, torch.tensor(torch.inf), {NOTHING, first.kept}
    while not attempt.meets:
        scale = attempt.excess.nan_to_num(nan=torch.inf, posinf=1e12).clamp(min=_LEAST)
        wanted = torch.minimum(wanted, mixtures.noise(attempt.kept) / scale * _TIGHTER)
        kept = mixtures.least(wanted.clamp(min=_LEAST), tolerance.slowest)
        if kept in tried or next(left, None) is None:
            return
        tried.add(kept)
        attempt = measure(kept)
        yield attempt


def _between(
    missed: Attempt,
    best: Attempt,
    mixtures: Mixtures,
    measure: Measure,
    left: Iterator[int],
) -> Attempt:
    """Mixtures between one that misses the tolerance and one that meets it.

    The excess is taken as a power of the noise that is predicted, so that both are known there.
    """
    most, least = (mixtures.noise(attempt.kept).clamp(min=_LEAST) for attempt in (missed, best))
    tried, excess = {missed.kept, best.kept}, missed.worst
    for _ in range(_STEPS):
        part = _way(best.worst, excess)
        wanted = least * (most / least) ** part
        kept = mixtures.least(wanted)
        meets, predicted = kept == best.kept, _grown(kept, best, mixtures)
        if kept not in tried and predicted <= _HOPELESS:
            if next(left, None) is None:
                break
            tried.add(kept)
            attempt = measure(kept)
            meets, predicted = attempt.meets, attempt.worst
            best = attempt if meets else best
        most, least = (most, wanted) if meets else (wanted, least)
        excess = excess if meets else predicted
    return best


def _way(met: float, missed: float) -> float:
    """How far it is from an excess that meets the bound to the bound itself, as a share."""
    met = max(met, _LEAST)
    share = math.log(1 / met) / math.log(max(min(missed, 1 / _LEAST), _MISSED) / met)
    return min(max(share, _INSIDE), 1 - _INSIDE)


def _put_back(
    best: Attempt,
    mixtures: Mixtures,
    measure: Measure,
    left: Iterator[int],
) -> Attempt:
    """Compute layers in integers again where the outputs stay within the tolerance."""
    for name in sorted(best.kept, key=lambda name: mixtures.time(best.kept - {name})):
        kept = mixtures.pruned(best.kept - {name})
        slower = mixtures.time(kept) > mixtures.time(best.kept) + _SAME_TIME
        if slower or _grown(kept, best, mixtures) > _HOPELESS:
            continue
        if next(left, None) is None:
            break
        attempt = measure(kept)
        best = attempt if attempt.meets else best
    return best


def _grown(kept: Kept, best: Attempt, mixtures: Mixtures) -> float:
    """The excess that is predicted of a mixture, from that of another one."""
    grown: Float[Tensor, " parts"] = mixtures.noise(kept) / mixtures.noise(best.kept).clamp(
        min=_LEAST
    )
    return float((grown * best.excess).max())
