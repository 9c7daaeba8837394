"""b ← b − ε E[x],  ε = Q(W) − W: analytic bias correction.

DFQ, arXiv 1906.04721, §4.2. Rounding the weights shifts the mean output of a channel by
`E[Q(W) x] − E[W x] = ε E[x]`, which is known without data, since `E[x]` follows from BatchNorm. For
convolutions ε is summed over the kernel.

Differs from the paper in: E[x] comes from the propagation through the whole graph, not only from
the BatchNorm and ReLU just before the layer. Taps that read zero padding count with the share of
positions at which they read the input.
"""

from collections.abc import Mapping

import torch

from tersor.core.response import expected_response
from tersor.distributions.coverage import tap_coverage
from tersor.distributions.distribution import Distribution
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Applied, Network, Record, Skipped
from tersor.graph.shapes import shapes
from tersor.quant.place import weight_quantizer
from tersor.quant.quantizer import FakeQuantize


def correct_bias(network: Network, distributions: Mapping[str, Distribution]) -> None:
    """Subtract the expected rounding error of the weights from every bias.

    Layers whose weight quantizer is off are skipped. A layer without bias gets one.

    Args:
        network: Edited in place; ranges of the weights must be set.
        distributions: Node name → distribution, from `tersor.distributions.propagation.propagate`.
    """
    sizes = shapes(network)
    for layer in layers(network):
        quantizer = weight_quantizer(layer)
        if quantizer is not None and quantizer.enabled:
            mean = distributions.get(layer.input.name)
            network.records.append(_correct(layer, quantizer, mean, sizes[layer.input]))
    network.finish()


def _correct(
    layer: Layer, quantizer: FakeQuantize, x: Distribution | None, input_shape: torch.Size
) -> Record:
    axis = layer.channel_axis % len(input_shape)
    if x is None or x.axis != axis or not bool(x.mean.isfinite().all()):
        reason = f"the mean of its input {layer.input.name} is unknown without data"
        return Skipped(layer.name, "correct bias", reason)
    with torch.no_grad():
        weight = layer.weight.detach()
        error = layer.grouped(quantizer(weight) - weight)
        shift = expected_response(error, x.mean, tap_coverage(layer, input_shape))
        layer.add_to_bias(-shift)
    numbers = {"largest shift": float(shift.abs().max())}
    return Applied(layer.name, "correct bias", "expected rounding error subtracted", numbers)
