"""Keeps the corrected biases only where the outputs are closer to float for them.

    b + E[y] − E[ŷ]         what solvers and `tersor.quant.bias` choose: no mean is off
    b − (Ŵ − W) E[x]        only what rounding the layer's own weight does to the mean

Most positions of a map are alike: background, sky, padding. Their inputs are rounded alike, too, so
the mean error is that of the background. The first correction removes it there, and shifts the few
positions that are different, on which scores depend. The error of a layer is smaller for it, but
not that of the outputs. So both are tried on some samples.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from tersor.core.ranges import channel_rows
from tersor.core.response import expected_response
from tersor.data.observe import Batch, observe
from tersor.data.pieces import joined
from tersor.data.sample_rows import last_batches
from tersor.distributions.coverage import tap_coverage
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Applied, Network
from tersor.graph.nodes import source
from tersor.quant.kept import NOTHING
from tersor.quant.place import weight_quantizer
from tersor.quant.tolerance import AUTO, Attempt, Judge, Rounded

_SAMPLES = 16
_CLEARLY = 0.8  # of the noise of the worst part
_WHAT = (
    "only by the rounding of each layer's own weights: the outputs are closer to float than if "
    "the mean of every layer was corrected"
)
_NEAREST = "by the rounding of each layer's own weights, which keep the nearest integers"


class _Mean:
    """The mean of each channel over all batches, and the shape of the last one."""

    def __init__(self, axis: int) -> None:
        self.axis, self.shape = axis, torch.Size()
        self._sum, self._count = torch.zeros(()), 0

    def __call__(self, value: Tensor) -> None:
        rows = channel_rows(value, self.axis)
        self.shape = value.shape
        self._sum = self._sum + rows.sum(1, dtype=torch.float64)
        self._count += rows.shape[1]

    @property
    def value(self) -> Tensor:
        return self._sum / self._count


def judge_of_biases(network: Network, batches: Sequence[Batch]) -> Judge:
    """The outputs of the float network for the samples on which biases are tried.

    Args:
        network: The float network.
        batches: Samples, of which the last few are used.
    """
    return Judge(network, last_batches(batches, _SAMPLES), AUTO)


def keep_better_biases(
    network: Network, prepared: Network, batches: Sequence[Batch], judge: Judge | None = None
) -> Attempt | None:
    """Take the mean errors of inputs out of the biases if the outputs are clearly closer for it.

    Args:
        network: A network whose weights are rounded and whose biases are corrected; edited in
            place.
        prepared: The same before that.
        batches: Samples, of which the last few are used.
        judge: What `judge_of_biases` returns for them, if it is known.

    Returns:
        How the network is on these samples, if that was measured.
    """
    judge = judge or judge_of_biases(prepared, batches)
    pairs = _pairs(network, prepared)
    if not judge.parts or not pairs:
        return None
    before = judge.attempt(NOTHING, Rounded(network, prepared, frozenset()))
    corrected = [layer.bias.detach().clone() for layer, _ in pairs if layer.bias is not None]
    _set_own(pairs, prepared, judge.batches)
    after = judge.attempt(NOTHING, Rounded(network, prepared, frozenset()))
    if after.worst < _CLEARLY * before.worst:
        numbers = {"noise": after.worst / before.worst}
        network.records.append(Applied("biases", "correct bias", _WHAT, numbers))
        return after
    for (layer, _), bias in zip(pairs, corrected, strict=True):
        layer.set_bias(bias)
    return before


def correct_nearest(network: Network, prepared: Network, batches: Sequence[Batch]) -> None:
    """Let the bias of each layer make up for the rounding of its own weight, and record that.

    Args:
        network: A network whose weights keep the nearest integers; edited in place.
        prepared: The same before that.
        batches: Samples.
    """
    pairs = _pairs(network, prepared)
    if pairs:
        _set_own(pairs, prepared, batches)
        network.records.append(Applied("biases", "correct bias", _NEAREST))


def _set_own(pairs: list[tuple[Layer, Layer]], prepared: Network, batches: Sequence[Batch]) -> None:
    for (layer, _), bias in zip(pairs, _own(pairs, prepared, batches), strict=True):
        layer.set_bias(bias)


def _pairs(network: Network, prepared: Network) -> list[tuple[Layer, Layer]]:
    """The layers whose biases are corrected, each with itself before that."""
    before = {layer.node.name: layer for layer in layers(prepared)}
    return [
        (layer, before[layer.node.name])
        for layer in layers(network)
        if _is_rounded(layer) and layer.bias is not None and layer.node.name in before
    ]


def _is_rounded(layer: Layer) -> bool:
    quantizer = weight_quantizer(layer)
    integers = quantizer is not None and quantizer.enabled and not quantizer.stored_only
    return integers and layer.computed is None


def _own(
    pairs: list[tuple[Layer, Layer]], prepared: Network, batches: Sequence[Batch]
) -> list[Tensor]:
    """The biases that make up for the rounding of each layer's own weight."""
    reads: dict[fx.Node, _Mean] = {}
    for _, floating in pairs:
        value = source(floating.input)
        reads[value] = _Mean(floating.channel_axis)
    observe(prepared, joined(prepared, batches), reads)
    return [_corrected(layer, floating, reads[source(floating.input)]) for layer, floating in pairs]


def _corrected(layer: Layer, floating: Layer, mean: _Mean) -> Tensor:
    quantizer, given = weight_quantizer(layer), layer.bias
    assert quantizer is not None
    assert given is not None
    with torch.no_grad():
        error = layer.grouped(quantizer(layer.weight)) - floating.grouped_weight()
        shift = expected_response(error, mean.value.to(error), tap_coverage(layer, mean.shape))
        bias = torch.zeros_like(given) if floating.bias is None else floating.bias.detach()
        return bias - shift.to(bias)
