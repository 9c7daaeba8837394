"""Chooses between min-max and the least squared error for the activations of a network, by trial.

In detectors a few values are far out, so min-max leaves few integers for the others; elsewhere a
value that is cut off may decide. Ranges are taken from some samples, and the outputs are judged on
others, with all weights in floating point: what these lose is for the solver. With few samples
min-max has a margin for what they have not shown, so nothing is tried. What was seen for the trial
counts for the result.
"""

from collections.abc import Sequence

from tersor.data.given.pieces import joined
from tersor.data.given.sample_rows import first_batches, last_batches, sample_counts
from tersor.data.walk.observe import Batch
from tersor.graph.network import Network
from tersor.quant.noise.noise_by_parts import noise_by_parts
from tersor.quant.noise.noise_shares import float_parts
from tersor.quant.noise.simulated import simulated
from tersor.quant.range_methods import MSE, ActivationRange, MinMax
from tersor.quant.ranges.calibrate import activation_quantizers
from tersor.quant.ranges.margin import ENOUGH
from tersor.quant.ranges.seen_values import SeenValues
from tersor.quant.shared_copy import shared_copy

_LEARNED, _JUDGED = 16, 8  # samples
_GOOD = 1e-3  # noise over signal with which nothing else is tried: 30 dB
_GAIN = 0.9  # of the noise may be left, or else min-max stays


def better_ranges(
    placed: Network, batches: Sequence[Batch]
) -> tuple[ActivationRange, SeenValues, Sequence[Batch]]:
    """Choose how the ranges of activations are taken from samples.

    Args:
        placed: The network, with its quantizers switched off; it is not changed.
        batches: The samples.

    Returns:
        How, what was seen for the trial, and the other samples.
    """
    parted = joined(placed, batches, most=_JUDGED)
    learned, judged = first_batches(parted, _LEARNED), last_batches(parted, _JUDGED)
    is_few = sum(sample_counts(batches)) < ENOUGH or len(learned) + len(judged) > len(parted)
    values = [value for value, _ in activation_quantizers(placed)]
    seen = SeenValues(placed, values, are_counted=not is_few)
    if is_few:
        return MinMax(), seen, parted
    seen.add(learned)
    return _better(placed, judged, seen), seen, parted[len(learned) :]


def _better(placed: Network, judged: Sequence[Batch], seen: SeenValues) -> ActivationRange:
    """Try ranges of what was seen on samples."""
    reference = simulated(placed, judged)
    parts = float_parts(reference[0])
    if not parts:
        return MinMax()

    def noise(method: ActivationRange) -> float:
        network = shared_copy(placed)
        seen.set(network, activation_quantizers(network), method)
        return noise_by_parts(simulated(network, judged), reference, parts)

    before = noise(MinMax())
    is_better = before > _GOOD and noise(MSE()) < _GAIN * before
    return MSE() if is_better else MinMax()
