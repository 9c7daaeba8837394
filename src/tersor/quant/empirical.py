"""b ← b + E[y] − E[ŷ]: empirical bias correction.

DFQ, arXiv 1906.04721, appendix D. y is the output of a layer in the float network, ŷ its output
once its own weight and everything before it are quantized; both means are taken over the data.

Differs from the paper in: the previous layers are already corrected.
"""

import torch
from torch import Tensor

from tersor.data.observe import Batch
from tersor.graph.layers import Layer
from tersor.graph.network import Applied, Network, Record
from tersor.quant.layerwise import OnLayer, Site, round_layers


def correct_bias_on_data(
    network: Network, batches: list[Batch], on_layer: OnLayer | None = None
) -> None:
    """Subtract the mean error on data from every bias.

    Args:
        network: A network whose quantizers have their ranges; edited in place. A layer without
            bias gets one.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        on_layer: Called after each layer; see `tersor.quant.layerwise.round_layers`.

    Raises:
        InvalidInputError: There is no batch.
    """
    round_layers(network, batches, correct_layer, on_layer=on_layer)


def correct_layer(site: Site) -> Record:
    """Correct the bias of one layer."""
    layer = site.layer
    with torch.no_grad():
        found = [layer.run(x, site.quantizer(layer.weight)) for x in site.given]
    shift = _mean(layer, site.wanted) - _mean(layer, found)
    site.shift_bias(shift)
    numbers = {"largest shift": float(shift.abs().max())}
    return Applied(layer.name, "correct bias", "mean error seen on the data subtracted", numbers)


def _mean(layer: Layer, outputs: list[Tensor]) -> Tensor:
    total = sum(y.movedim(layer.channel_axis, 0).flatten(1).sum(1) for y in outputs)
    assert isinstance(total, Tensor)
    return total / sum(y.numel() // y.shape[layer.channel_axis] for y in outputs)
