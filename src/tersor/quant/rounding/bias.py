"""Corrects biases for the mean error of rounded weights, with or without data.

    b ← b − ε E[x],  ε = Q(W) − W      analytic: DFQ, arXiv 1906.04721, §4.2
    b ← b + E[y] − E[ŷ]                empirical: appendix D

Rounding the weights shifts the mean output of a channel by `E[Q(W) x] − E[W x] = ε E[x]`. This is
known without data, as `E[x]` follows from BatchNorm. For convolutions, ε is summed over the kernel.
With data, y is the output of a layer in the float network, and ŷ is its output once its own weight
and everything before it are quantized. Both means are taken over the data.

Differs from the paper in: E[x] comes from the propagation through the whole graph, not only from
the BatchNorm and ReLU just before the layer. Taps that read zero padding are weighted by the share
of positions at which they do not. With data, the layers before a layer are already corrected, and
`tersor.quant.in_float.bias_check` judges all corrections by the outputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from tersor.core.response import expected_response
from tersor.data.given.pieces import pieces
from tersor.data.walk.observe import Batch
from tersor.distributions.coverage import tap_coverage
from tersor.distributions.distribution import Distribution
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Applied, Network, Record, Skipped
from tersor.graph.shapes import shapes
from tersor.quant.placement.place import weight_quantizer
from tersor.quant.placement.quantizer import FakeQuantize
from tersor.quant.rounding.layer_task import LayerTask
from tersor.quant.rounding.layerwise import Setting, round_layers


def correct_bias(network: Network, distributions: Mapping[str, Distribution]) -> None:
    """Subtract the expected rounding error of the weights from every bias.

    Layers that compute in float are skipped. A layer without a bias gets one.

    Args:
        network: Edited in place; ranges of the weights must be set.
        distributions: Node name → distribution, from `tersor.distributions.propagation.propagate`.
    """
    sizes = shapes(network)
    for layer in layers(network):
        quantizer = weight_quantizer(layer)
        if quantizer is not None and quantizer.enabled and not quantizer.stored_only:
            mean = distributions.get(layer.input.name)
            network.records.append(_correct(layer, quantizer, mean, sizes[layer.input]))
    network.finish()


def _correct(
    layer: Layer, quantizer: FakeQuantize, x: Distribution | None, input_shape: torch.Size
) -> Record:
    axis = layer.channel_axis % len(input_shape)
    if layer.computed:
        return Skipped(layer.name, "correct bias", layer.computed)
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


@dataclass(frozen=True)
class Nearest:
    """The solver that rounds each weight to nearest; the bias compensates the mean error."""

    def round(
        self,
        network: Network,
        batches: Sequence[Batch],
        setting: Setting = Setting(),  # noqa: B008
    ) -> None:
        """Correct every bias by the mean error on the data.

        Args:
            network: As for `tersor.quant.rounding.layerwise.Solver`. A layer without a bias gets
                one.
            batches: As for `tersor.quant.rounding.layerwise.Solver`.
            setting: As for `tersor.quant.rounding.layerwise.Solver`. No batch is held out, and no
                journal is written, since a single pass over the data suffices.
        """
        alone = replace(setting, held_back=0, journal=None)
        round_layers(network, pieces(network, batches), _correct_on_data, alone)


def _correct_on_data(task: LayerTask) -> Record:
    """Correct the bias of one layer."""
    shift = task.correct_mean()
    numbers = {"largest shift": float(shift.abs().max())}
    return Applied(
        task.layer.name, "correct bias", "mean error seen on the data subtracted", numbers
    )
