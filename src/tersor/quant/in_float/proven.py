"""Holds in the runtime what holds in the simulation: more calls stay in float until it does."""

from tersor.quant.in_float.float_search import closer
from tersor.quant.placement.kept import Mixtures
from tersor.quant.tolerance import Attempt, Judge, Quantize, Tolerance


def proven(
    best: Attempt, mixtures: Mixtures, judge: Judge, quantized: Quantize, tolerance: Tolerance
) -> Attempt:
    """Measure a network in the runtime, and look for a quieter one if it does not hold there.

    Args:
        best: What the simulation says is best. If it does not meet the tolerance even there, it is
            measured, and no other is looked for.
        mixtures: What can stay in floating point.
        judge: Measures networks in the runtime.
        quantized: Quantizes the network with some calls in floating point.
        tolerance: What is wanted.
    """
    found = judge.attempt(best.kept, best.result)
    if found.meets or not best.meets:
        return found
    left = iter(range(tolerance.proofs))
    further = closer(found, mixtures, judge.measure(quantized), tolerance, left)
    return min([found, *further], key=lambda attempt: attempt.worst)
