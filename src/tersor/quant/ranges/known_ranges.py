"""The ranges of activations, measured once for a network that is placed several times.

They are those of the float network, so they do not depend on what is rounded.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, fx

from tersor.core.grid import Grid
from tersor.data.walk.observe import Batch
from tersor.graph.network import Network, Record
from tersor.quant.placement.quantizer import FakeQuantize
from tersor.quant.range_methods import ActivationRange
from tersor.quant.ranges.better_ranges import better_ranges
from tersor.quant.ranges.calibrate import activation_quantizers
from tersor.quant.ranges.observed import seen_values
from tersor.quant.ranges.seen_values import SeenValues

_Key = tuple[str, Grid]


class KnownRanges:
    """What was measured so far, by the name of a value."""

    def __init__(self) -> None:
        self._found: dict[_Key, tuple[bool, Tensor, Tensor]] = {}
        self._records: dict[str, Record] = {}
        self._better: ActivationRange | None = None
        self._begun: tuple[SeenValues, Sequence[Batch]] | None = None

    def method(
        self,
        batches: Sequence[Batch],
        method: ActivationRange | Literal["auto"],
        placed: Network,
    ) -> ActivationRange:
        """How to choose a range; `"auto"` is decided once.

        Args:
            batches: As for `set`.
            method: As for `set`.
            placed: As for `set`.
        """
        if not isinstance(method, str):
            return method
        if self._better is None:
            self._better, seen, others = better_ranges(placed, batches)
            self._begun = seen, others
        return self._better

    def set(
        self,
        network: Network,
        batches: Sequence[Batch],
        method: ActivationRange | Literal["auto"],
        placed: Network,
    ) -> None:
        """Set the range of every activation quantizer; what is unknown is measured.

        Args:
            network: Edited in place; always the same network, but for its quantizers.
            batches: The samples, always the same.
            method: How to choose a range, always the same; `"auto"` is what is better on samples.
            placed: The network as its quantizers were placed, all of them switched off.
        """
        method = self.method(batches, method, placed)
        wanted = activation_quantizers(network)
        keyed = [((value.name, quantizer.grid), value, quantizer) for value, quantizer in wanted]
        unknown = [(value, q) for key, value, q in keyed if key not in self._found]
        if unknown:
            before = len(network.records)
            self._measure(network, batches, unknown, method)
            self._records |= {record.layer: record for record in network.records[before:]}
            del network.records[before:]
            known = ((value.name, q) for value, q in unknown)
            self._found |= {(n, q.grid): (q.enabled, q.scale, q.zero_point) for n, q in known}
        for (name, grid), _, quantizer in keyed:
            is_used, scale, zero_point = self._found[name, grid]
            if is_used:
                quantizer.set_scale(scale, zero_point)
            network.records.append(self._records[name])

    def _measure(
        self,
        network: Network,
        batches: Sequence[Batch],
        wanted: list[tuple[fx.Node, FakeQuantize]],
        method: ActivationRange,
    ) -> None:
        """Set ranges from samples; those of a trial have been seen."""
        if self._begun is None:
            seen = seen_values(network, batches, [value for value, _ in wanted], method)
        else:
            (seen, others), self._begun = self._begun, None
            seen.add(others)
        seen.set(network, wanted, method)
