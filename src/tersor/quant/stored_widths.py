"""Stores weights in 16 bits where 8 cost accuracy, though the layer computes in float anyway.

    min Σ bytes      such that  ‖y − ŷ‖² / ‖y‖² ≤ 10^(−2.5), with nothing rounded but these weights

Recurrent layers, tables that are looked up and layers in float have integers in the file to save
space. That must not show in the outputs. All of them are rounded at once, and nothing else; if the
worst part of the outputs has less than 25 dB, each is rounded alone, and those that add most noise
for their size get 16 bits until the rest is within the bound.

Where layers are left in float so that the outputs are accurate, their weights must not undo what
they are left for: the bound is a tenth of the noise of everything that is rounded. If many are left
in float, trying each would take long, and all get 16 bits.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from tersor.core.metrics import decibels, signal_and_noise
from tersor.data.given.pieces import joined
from tersor.data.given.sample_rows import last_batches
from tersor.data.outputs.output_parts import Part
from tersor.data.outputs.outputs import damage, floats
from tersor.data.walk.observe import Batch
from tersor.graph.network import Applied, Network
from tersor.quant.noise.alone import QuantizerUse, only, quantizer_uses, sweep
from tersor.quant.noise.noise_shares import float_parts
from tersor.quant.noise.simulated import simulated
from tersor.quant.ranges.calibrate import weight_range

_MOST = 10**-2.5  # noise over signal
_SHARE = 0.1  # of all noise, if layers are left in float
_MANY = 8  # layers
_JUDGED = 4  # samples
_NARROW, _WIDE = 8, 16  # bits


def widen_stored(network: Network, batches: Sequence[Batch], kept: bool = False) -> None:
    """Give stored weights 16 bits where 8 bits add noise to the outputs, and record them.

    Args:
        network: A network whose quantizers have ranges; edited in place.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        kept: Whether layers are left in floating point so that the outputs are accurate.
    """
    uses = [use for use in quantizer_uses(network) if _is_narrow(use)]
    judged = joined(network, last_batches(batches, _JUDGED))
    if not uses or not judged:
        return
    with only(network, ()):
        reference = simulated(network, judged)
    parts = float_parts(reference[0], network.output_names)
    if not parts:
        return
    worst = partial(_worst, parts)
    most = _MOST
    if kept:
        most = min(most, _SHARE * damage(simulated(network, judged), reference, worst))
    with only(network, {use.quantizer for use in uses}):
        together = damage(simulated(network, judged), reference, worst)
    if together <= most:
        return
    each = not kept or len(uses) <= _MANY
    alone = sweep(network, judged, uses, worst) if each else [together] * len(uses)
    for use, noise in _too_noisy(network, list(zip(uses, alone, strict=True)), most):
        use.quantizer.grid = replace(use.quantizer.grid, bits=_WIDE)
        weight_range(network, use.first, use.quantizer)
        what = (
            f"weights stored in {_WIDE} bits; with {_NARROW} bits for "
            f"{'these alone' if each else 'all such weights'}, the outputs have "
            f"{decibels(1.0, noise):.1f} dB"
        )
        network.records.append(Applied(use.name, "place", what))


def _worst(parts: Sequence[tuple[int, Part]], outputs: object, reference: object) -> float:
    """The noise over signal of the worst part of the outputs for one batch."""
    pairs = list(zip(floats(reference), floats(outputs), strict=True))
    found = [signal_and_noise(*map(part.of, pairs[number])) for number, part in parts]
    return max((noise / signal for signal, noise in found if signal > 0), default=0.0)


def _is_narrow(use: QuantizerUse) -> bool:
    return use.quantizer.stored_only and use.quantizer.grid.bits == _NARROW


def _too_noisy(
    network: Network, alone: list[tuple[QuantizerUse, float]], most: float
) -> list[tuple[QuantizerUse, float]]:
    """The weights that get more bits so that the rest is within the bound.

    Args:
        network: The network.
        alone: All weights, each with the noise that it adds alone.
        most: The bound.
    """
    dearest = sorted(alone, key=lambda item: -item[1] / network.tensor(item[0].value).numel())
    left, count = sum(noise for _, noise in alone), 0
    while left > most and count < len(dearest):
        left -= dearest[count][1]
        count += 1
    return dearest[:count]
