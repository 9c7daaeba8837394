"""Describes each layer for people: kind, shapes, MACs, parameters, weight ranges."""

import math
from dataclasses import dataclass

from tersor.graph.costs import batch_size, layer_macs
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network
from tersor.graph.shapes import shapes


@dataclass(frozen=True)
class LayerInfo:
    """One weighted layer.

    Attributes:
        name: The user's name.
        kind: `"conv"`, `"depthwise"`, `"transposed conv"` or `"linear"`.
        weight: Shape of the stored weight.
        output: Shape of the output for one example; the batch is left out.
        macs: Multiply-accumulates for one example.
        parameters: Number of weights and biases.
        low: Smallest weight.
        high: Largest weight.
        imbalance: Largest over smallest channel range (max |W| of an output channel); large
            values are what per-tensor quantization suffers from. Infinite for a dead channel.
    """

    name: str
    kind: str
    weight: tuple[int, ...]
    output: tuple[int, ...]
    macs: int
    parameters: int
    low: float
    high: float
    imbalance: float


def describe(network: Network) -> list[LayerInfo]:
    """One row per call of a weighted layer, in execution order.

    Layers whose weight is computed from the input are omitted.
    """
    seen, batch = shapes(network), batch_size(network)
    return [
        _describe(layer, tuple(seen[layer.node][1:]), layer_macs(layer, seen, batch))
        for layer in layers(network)
        if layer.has_stored_weight
    ]


def _describe(layer: Layer, output: tuple[int, ...], macs: int) -> LayerInfo:
    grouped = layer.grouped_weight()
    ranges = grouped.abs().flatten(2).amax(2)
    weight = layer.weight.detach()
    smallest = float(ranges.min())
    return LayerInfo(
        name=layer.name,
        kind=_kind(layer),
        weight=tuple(weight.shape),
        output=output,
        macs=macs,
        parameters=weight.numel() + (0 if layer.bias is None else layer.bias.numel()),
        low=float(weight.min()),
        high=float(weight.max()),
        imbalance=float(ranges.max()) / smallest if smallest > 0 else math.inf,
    )


def _kind(layer: Layer) -> str:
    if layer.is_linear:
        return "linear"
    if layer.is_transposed:
        return "transposed conv"
    return "depthwise" if layer.is_depthwise else "conv"
