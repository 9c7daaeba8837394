"""Measures mixtures of integers and floats without quantizing anew: quantizers are switched off.

A call in floating point reads and writes what is not rounded, so the mixture is the network with
all integers but for the quantizers of these values and of its weight. Where calls lie between
integers and floats, the network that is written may round values that were not rounded before, so
mixtures are asked for a little less noise than is allowed. So may weights of layers in float, which
are not rounded here: see `tersor.quant.stored_widths`.
"""

from collections.abc import Collection
from dataclasses import replace

from tersor.quant.noise.alone import QuantizerUse, only, quantizer_uses
from tersor.quant.placement.kept import Kept, Mixtures
from tersor.quant.tolerance import Attempt, Judge, Measure, Rounded

_SPARE = 1.25  # times the noise


def switched(everything: Rounded, mixtures: Mixtures, judge: Judge) -> Measure:
    """Measure mixtures of a network; what is measured is not yet a network that could be written.

    Args:
        everything: The network with all integers, which keeps the nearest of them.
        mixtures: What can stay in floating point.
        judge: Measures networks in the simulation.
    """
    network = everything.network
    uses = quantizer_uses(network)

    def measure(kept: Kept) -> Attempt:
        rounded = mixtures.rounded(kept)
        on = [use.quantizer for use in uses if _is_on(use, kept, rounded)]
        with only(network, on):
            found = judge.attempt(kept, everything)
        return replace(found, excess=found.excess * _SPARE) if kept else found

    return measure


def _is_on(use: QuantizerUse, kept: Kept, rounded: Collection[str]) -> bool:
    """Whether a mixture rounds a value; beside layers in float, stored weights add little."""
    if use.side == "activations":
        return use.value.name in rounded
    if use.quantizer.stored_only:
        return not kept
    return any(reader.node.name not in kept for reader in use.readers)
