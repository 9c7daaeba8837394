"""Σ_p (‖y_p − ŷ_p‖² / ‖y_p‖²) / n: the noise of the outputs, in which each part counts the same.

A detector returns boxes and scores as one tensor, and its boxes are so much larger that they would
hide what happens to its scores.
"""

from collections.abc import Sequence
from typing import Any

from tersor.core.metrics import signal_and_noise
from tersor.data.outputs.output_parts import Part
from tersor.data.outputs.outputs import floats, mean_share


def noise_by_parts(
    outputs: Sequence[Any], reference: Sequence[Any], parts: Sequence[tuple[int, Part]]
) -> float:
    """Measure the noise of outputs over all batches, averaged over their parts.

    Args:
        outputs: What a network returns, for every batch.
        reference: What the float network returns.
        parts: The parts, as `tersor.quant.noise.noise_shares.float_parts` gives them; one at least.
    """
    pairs = list(zip(map(floats, reference), map(floats, outputs), strict=True))
    energies = [
        [signal_and_noise(part.of(wanted[k]), part.of(found[k])) for k, part in parts]
        for wanted, found in pairs
    ]
    return mean_share(energies)
