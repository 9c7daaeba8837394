"""Stores weights in 16 bits where 8 cost accuracy, though the layer computes in float anyway.

    min Σ bytes      such that  ‖y − ŷ‖² / ‖y‖² ≤ 10^(−2.5), with nothing rounded but these weights

Recurrent layers, tables that are looked up and layers in float have integers in the file to save
space. That must not show in the outputs. All of them are rounded at once, and nothing else; if the
outputs have less than 25 dB, each is rounded alone, and those that add most noise for their size
get 16 bits until the rest is within the bound. Where layers are left in float so that the outputs
are accurate, the bound is 35 dB: their weights must not undo what they are left for.
"""

from dataclasses import replace

from tersor.core.metrics import decibels
from tersor.data.observe import Batch, last_batches
from tersor.data.one_at_a_time import outputs_of
from tersor.data.outputs import damage, floats
from tersor.graph.network import Applied, Network
from tersor.quant.alone import QuantizerUse, only, quantizer_uses, sweep
from tersor.quant.calibrate import weight_range

_MOST, _MOST_IF_KEPT = 10**-2.5, 10**-3.5  # noise over signal
_JUDGED = 4  # samples
_NARROW, _WIDE = 8, 16  # bits


def widen_stored(network: Network, batches: list[Batch], kept: bool = False) -> None:
    """Give stored weights 16 bits where 8 bits add noise to the outputs, and record them.

    Args:
        network: A network whose quantizers have ranges; edited in place.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        kept: Whether layers are left in floating point so that the outputs are accurate.
    """
    most = _MOST_IF_KEPT if kept else _MOST
    uses = [use for use in quantizer_uses(network) if _is_narrow(use)]
    judged = last_batches(batches, _JUDGED)
    if not uses or not judged:
        return
    with only(network, ()):
        reference = outputs_of(network, judged, simulate=True)
    if not floats(reference[0]):
        return
    with only(network, {use.quantizer for use in uses}):
        together = damage(outputs_of(network, judged, simulate=True), reference)
    if together <= most:
        return
    alone = sweep(network, judged, uses)
    for use, noise in _too_noisy(network, list(zip(uses, alone, strict=True)), most):
        use.quantizer.grid = replace(use.quantizer.grid, bits=_WIDE)
        weight_range(network, use.first, use.quantizer)
        what = (
            f"weights stored in {_WIDE} bits; with {_NARROW} bits for these alone, the outputs "
            f"have {decibels(1.0, noise):.1f} dB"
        )
        network.records.append(Applied(use.name, "place", what))


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
