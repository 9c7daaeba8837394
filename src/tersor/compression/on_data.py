"""Factorizes layer by layer with data, each for its input in the compressed network.

    x̂   the input of a layer once everything before it is compressed
    y   its output in the float network: the wanted output

The method is the "asymmetric reconstruction" of arXiv 1505.06798, §3.3. If only a ReLU reads y, the
error after the ReLU is minimized (§3.2).

Differs from the paper in: all methods of `tersor.core.decompose` are available. The branch beside a
shortcut compensates the error of the shortcut, before any ReLU that follows the addition;
minimizing the error after this ReLU did not help.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tersor.compression.chain import LayerSizes
from tersor.compression.chain_fit import Refit, Samples
from tersor.compression.factorize import Factorization, refusal, replace
from tersor.data.walk.gram import Moments, moments_of, sampled
from tersor.data.walk.per_batch import lengths
from tersor.graph.layers import Layer
from tersor.graph.network import Record

aten = torch.ops.aten


@dataclass(frozen=True)
class Chains:
    """Layers that become chains while the data pass.

    Attributes:
        choices: Layer name → its factorization.
        sizes: Layer name → the sizes at which the layer runs.
        refit: How the factors are fitted to the data.
    """

    choices: Mapping[str, Factorization] = field(default_factory=dict)
    sizes: Mapping[str, LayerSizes] = field(default_factory=dict)
    refit: Refit = Refit()  # noqa: RUF009

    def put(
        self, layer: Layer, given: Sequence[Tensor], wanted: Sequence[Tensor], number: int
    ) -> tuple[Record, list[Layer]]:
        """Replace a layer by its chain; see `tersor.compression.factorize.replace`.

        Args:
            layer: One of the layers; its network is edited in place.
            given: Its input for every batch.
            wanted: The output that it should have.
            number: Its number in the network, which changes the seed.
        """
        data = None if refusal(layer) else self._data(layer, given, wanted, number)
        choice, sizes = self.choices[layer.name], self.sizes[layer.name]
        return replace(layer, choice, data, self.refit, sizes)

    def _data(
        self, layer: Layer, given: Sequence[Tensor], wanted: Sequence[Tensor], number: int
    ) -> Moments | Samples:
        pairs = zip(given, wanted, strict=True)
        count = self.refit.positions(layer, sum(lengths(given)))
        generator = torch.Generator().manual_seed(self.refit.seed + number)
        readers = {user.target for user in layer.node.users}
        if not (self.refit.relu and readers == {aten.relu.default}):
            return moments_of(layer, pairs, count, generator)
        patches, outputs = zip(*sampled(layer, pairs, count, generator), strict=True)
        return Samples(torch.cat(patches, 2)[0], torch.cat(outputs, 2)[0])
