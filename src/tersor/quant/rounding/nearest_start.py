"""The weights that training starts from: the nearest integers, not those that a solver has chosen.

A solver moves weights away from the float weights so that the outputs change least without any
training. Training moves all weights together, and reaches more from the float weights: see
docs/results/training.md.
"""

from collections.abc import Sequence

import torch

from tersor.data.walk.observe import Batch
from tersor.graph.lanes import Pairs
from tersor.graph.layers import layers
from tersor.graph.network import Applied, Network
from tersor.quant.placement.place import weight_quantizer
from tersor.quant.ranges.calibrate import activation_quantizers, weight_ranges
from tersor.quant.ranges.overflow import guard_bias_overflow
from tersor.quant.rounding.bias import Nearest
from tersor.quant.rounding.layerwise import Setting
from tersor.quant.scheme import WIDE

TRAINED = "train"  # the step of the record that a training leaves


def nearest_start(
    network: Network,
    prepared: Network | None,
    batches: Sequence[Batch],
    pair_safe: Pairs | None = None,
) -> Network:
    """Take back what a solver did to weights of few bits; other networks are returned unchanged.

    Args:
        network: A quantized network.
        prepared: The same before it was rounded, with its quantizers; None if it is not known.
        batches: Samples with which biases are corrected for the mean error of the weights.
        pair_safe: See `Scheme`.
    """
    was_trained = any(record.step == TRAINED for record in network.records)
    if prepared is None or was_trained or not _is_solved(network, prepared):
        return network
    start = prepared.copy()
    weight_ranges(start, pair_safe)
    known = {value.name: quantizer for value, quantizer in activation_quantizers(network)}
    for value, quantizer in activation_quantizers(start):
        if known[value.name].enabled:
            quantizer.set_scale(known[value.name].scale, known[value.name].zero_point)
    guard_bias_overflow(start)
    if batches:
        Nearest().round(start, batches, Setting(pair_safe=pair_safe))
        guard_bias_overflow(start)
    what = "training starts from the nearest integers, which reaches more than those of the solver"
    start.records[:] = [*network.records, Applied("network", "round", what)]
    return start


def _is_solved(network: Network, prepared: Network) -> bool:
    """Whether a weight of few bits is not the float weight any more."""
    before = {layer.node.name: layer for layer in layers(prepared)}
    for layer in layers(network):
        quantizer = weight_quantizer(layer)
        if quantizer is None or not quantizer.enabled or quantizer.grid.bits >= WIDE:
            continue
        if not torch.equal(layer.weight, before[layer.node.name].weight):
            return True
    return False
