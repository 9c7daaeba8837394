"""Keeps the corrected biases only where the outputs are closer to float for them.

    b + E[y] − E[ŷ]         what solvers and `tersor.quant.rounding.bias` choose: no mean is off
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
from tersor.data.given.pieces import joined
from tersor.data.given.sample_rows import last_batches
from tersor.data.walk.observe import Batch, observe
from tersor.distributions.coverage import tap_coverage
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Applied, Network
from tersor.graph.nodes import source
from tersor.quant.noise.simulated import NamedWatchers
from tersor.quant.placement.kept import NOTHING
from tersor.quant.placement.place import weight_quantizer
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


def judge_of_biases(
    network: Network, batches: Sequence[Batch], watchers: NamedWatchers | None = None
) -> Judge:
    """The outputs of the float network for the samples on which biases are tried.

    Args:
        network: The float network.
        batches: Samples, of which the last few are used.
        watchers: Those of values of the float network for these samples.
    """
    return Judge(network, last_batches(batches, _SAMPLES), AUTO, watchers)


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
    pairs = _pairs(network, prepared)
    if not pairs:
        return None
    means = _Means(pairs)
    if judge is None:
        judge = judge_of_biases(prepared, batches, means.by_name)
    elif judge.parts:
        means.see(prepared, judge.batches)
    if not judge.parts:
        return None
    before = judge.attempt(NOTHING, Rounded(network, prepared, frozenset()))
    corrected = [layer.bias.detach().clone() for layer, _ in pairs if layer.bias is not None]
    means.set_own()
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
        means = _Means(pairs)
        means.see(prepared, batches)
        means.set_own()
        network.records.append(Applied("biases", "correct bias", _NEAREST))


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


class _Means:
    """The means of the inputs of layers in floating point, for biases that make up for rounding.

    Attributes:
        by_name: Name of a value that a layer reads → its mean, which is called with the values.
    """

    def __init__(self, pairs: list[tuple[Layer, Layer]]) -> None:
        """Start with no sample; for the pairs see `_pairs`."""
        self._pairs, self._reads = pairs, dict[fx.Node, _Mean]()
        for _, floating in pairs:
            self._reads[source(floating.input)] = _Mean(floating.channel_axis)
        self.by_name = {node.name: mean for node, mean in self._reads.items()}

    def see(self, prepared: Network, batches: Sequence[Batch]) -> None:
        """Run the float network."""
        observe(prepared, joined(prepared, batches), self._reads)

    def set_own(self) -> None:
        """Let each bias make up for the rounding of its layer's own weight."""
        for layer, floating in self._pairs:
            layer.set_bias(_corrected(layer, floating, self._reads[source(floating.input)]))


def _corrected(layer: Layer, floating: Layer, mean: _Mean) -> Tensor:
    quantizer, given = weight_quantizer(layer), layer.bias
    assert quantizer is not None
    assert given is not None
    with torch.no_grad():
        error = layer.grouped(quantizer(layer.weight)) - floating.grouped_weight()
        shift = expected_response(error, mean.value.to(error), tap_coverage(layer, mean.shape))
        bias = torch.zeros_like(given) if floating.bias is None else floating.bias.detach()
        return bias - shift.to(bias)
