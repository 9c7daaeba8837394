"""The layers of a model, and what the passes can do with them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group

from tersor.report.describe import LayerInfo
from tersor.report.numbers import count, shape
from tersor.report.summary import Summary
from tersor.report.tables import html, layers_table, pairs_table, plain


@dataclass(frozen=True)
class Inspection:
    """The layers of a model, and what each pass could and could not do; print it.

    Attributes:
        layers: One entry per layer, with BatchNorm folded into the weights.
        equalized: The same layers with their weights as they would be quantized.
        summary: What the passes did and refused to do.
    """

    layers: tuple[LayerInfo, ...]
    equalized: tuple[LayerInfo, ...]
    summary: Summary

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one example."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Number of weights and biases in the layers; a shared layer counts once."""
        return sum({layer.name: layer.parameters for layer in self.layers}.values())

    def as_dict(self) -> dict[str, object]:
        """Convert to plain data, ready for JSON; an infinite imbalance becomes None."""
        pairs = zip(self.layers, self.equalized, strict=True)
        return {
            "layers": [_as_dict(layer, equalized) for layer, equalized in pairs],
            "macs": self.macs,
            "parameters": self.parameters,
            **self.summary.as_dict(),
        }

    def __rich__(self) -> Group:
        pairs = zip(self.layers, self.equalized, strict=True)
        rows = [_row(layer, equalized) for layer, equalized in pairs]
        totals = [
            ("layers", str(len(self.layers))),
            ("MACs", count(self.macs)),
            ("parameters", count(self.parameters)),
        ]
        return Group(layers_table(rows), pairs_table("Total", totals), self.summary.__rich__())

    def _repr_html_(self) -> str:
        """The tables as a notebook shows them."""
        return html(self)

    def __str__(self) -> str:
        """The tables as plain text."""
        return plain(self.__rich__())


def _as_dict(layer: LayerInfo, equalized: LayerInfo) -> dict[str, Any]:
    return {
        **vars(layer),
        "imbalance": _finite(layer.imbalance),
        "equalized_imbalance": _finite(equalized.imbalance),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _row(layer: LayerInfo, equalized: LayerInfo) -> Sequence[str]:
    return (
        layer.name,
        layer.kind,
        shape(layer.weight),
        shape(layer.output),
        count(layer.macs),
        count(layer.parameters),
        f"{layer.low:.2g}…{layer.high:.2g}",
        _ratio(layer.imbalance),
        _ratio(equalized.imbalance),
    )


def _ratio(value: float) -> str:
    """Format an imbalance; above a thousand, some channel is practically dead."""
    return f"{value:.3g}" if value < 1e3 else "dead"
