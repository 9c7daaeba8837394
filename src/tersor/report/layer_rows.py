"""One row of a report per layer: its shape, what was done to it, and its errors."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch

from tersor.graph.costs import Cost, costs
from tersor.graph.layers import layers
from tersor.graph.network import Applied, Network, Record
from tersor.graph.nodes import operand
from tersor.quant.placement.place import weight_quantizer
from tersor.report.contents import LayerCosts, LayerReport, Note
from tersor.report.describe import describe
from tersor.report.measure import Measured, short
from tersor.report.structure import edge_bits
from tersor.report.summary import change

_QUANTILES = 48
_SHOWN = 24  # layers with histograms


def layer_reports(
    network: Network,
    measured: Mapping[str, Measured],
    floating: tuple[Network, Network] | None = None,
) -> tuple[LayerReport, ...]:
    """Build the rows of all layers with stored weights.

    Args:
        network: The resulting network.
        measured: Name of a layer's node → what was measured there.
        floating: The float network with folded BatchNorms, and the same with equalized channels.
    """
    notes = _notes(network.records)
    before, after = map(_channel_ranges, floating) if floating else ({}, {})
    stored = [layer for layer in layers(network) if layer.has_stored_weight]
    found = []
    for layer, info in zip(stored, describe(network), strict=True):
        quantizer, seen = weight_quantizer(layer), measured.get(layer.node.name)
        row = LayerReport(
            **{name: getattr(info, name) for name in _OF_INFO},
            bits=quantizer.grid.bits if quantizer is not None and quantizer.enabled else None,
            reads=edge_bits(network, operand(layer.node)),
            low=short(info.low),
            high=short(info.high),
            objective=_objective(network.records, layer.name),
            before=before.get(layer.name, ()),
            after=after.get(layer.name, ()),
            notes=(*notes[layer.name], *notes[layer.input.name]),
        )
        found.append(row if seen is None else replace(row, **vars(seen)))
    return _with_few_histograms(found)


_OF_INFO = ("name", "kind", "weight", "output", "macs", "parameters")


def left_of(original: Network, network: Network) -> tuple[LayerCosts, ...]:
    """Find what compression left of each layer: the sum, if a chain replaced it.

    Args:
        original: The network before.
        network: The network after.
    """
    before, after = costs(original), costs(network)
    sums: dict[str, Cost] = defaultdict(Cost)
    for name, cost in after.items():
        sums[_origin(name, before)] += cost
    return tuple(LayerCosts(name, cost, sums[name]) for name, cost in before.items())


def _origin(name: str, known: Iterable[str]) -> str:
    """The layer of the original that became a layer: `conv` of `conv.0`."""
    owners = [x for x in known if name == x or name.startswith(f"{x}.")]
    return max(owners, key=len, default=name)


def _notes(records: list[Record]) -> dict[str, list[Note]]:
    found: dict[str, list[Note]] = defaultdict(list)
    for record in records:
        done = isinstance(record, Applied)
        text = record.what if isinstance(record, Applied) else record.reason
        found[record.layer].append(Note(record.step, text, done))
    return found


def _objective(records: list[Record], name: str) -> tuple[float, float] | None:
    """The error that rounding a layer minimized; the last one if there were several steps."""
    changes = [change(record) for record in records if record.layer == name]
    found = next((x for x in reversed(changes) if x is not None), None)
    return None if found is None else (short(found[0]), short(found[1]))


def _channel_ranges(network: Network) -> dict[str, tuple[float, ...]]:
    """Largest |W| of output channels, sorted: all, or quantiles of them."""
    found = {}
    for layer in layers(network):
        if layer.has_stored_weight:
            ranges = layer.grouped_weight().detach().abs().flatten(2).amax(2).flatten()
            if len(ranges) > _QUANTILES:
                ranges = ranges.float().quantile(torch.linspace(0, 1, _QUANTILES))
            found[layer.name] = tuple(short(x) for x in ranges.sort().values.tolist())
    return found


def _with_few_histograms(found: list[LayerReport]) -> tuple[LayerReport, ...]:
    """Keep the histograms of the layers with least SQNR only, to limit the file's size."""
    order = sorted((row for row in found if row.own is not None), key=lambda row: row.own or 0.0)
    shown = {id(row) for row in order[:_SHOWN]}
    return tuple(
        row if id(row) in shown else replace(row, weights=None, inputs=None) for row in found
    )
