"""Measures Cov(x), where x is the input of a layer, at a sample of positions."""

import math
from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.data.walk.gram import moments_of
from tersor.data.walk.observe import Batch
from tersor.data.walk.per_batch import lengths
from tersor.data.walk.shelf import Shelf
from tersor.data.walk.stream import Stream
from tersor.graph.layers import Layer
from tersor.graph.network import Network
from tersor.graph.nodes import operand


def input_covariances(
    network: Network,
    nodes: Collection[fx.Node],
    batches: Sequence[Batch],
    positions: int,
    seed: int = 0,
    shelf: Shelf | None = None,
) -> dict[fx.Node, Float[Tensor, "groups inputs inputs"]]:
    """Measure Cov(x) of the inputs of some layers.

    Args:
        network: The network.
        nodes: Calls of layers that are not transposed convolutions.
        batches: Inputs, as `(args, kwargs)`.
        positions: Number of output positions to sample for each layer.
        seed: Seed of the sampled positions.
        shelf: Keeps the values; by default one that has room for all.
    """
    stream, found = Stream(network, batches, simulate=False, shelf=shelf), {}
    for node in network.nodes():
        chosen = node in nodes
        given = stream.of(operand(node)) if chosen else []
        stream.run(node)
        if chosen:
            pairs = zip(given, stream.of(node), strict=True)
            count = math.ceil(positions / sum(lengths(given)))
            generator = torch.Generator().manual_seed(seed)
            measured = moments_of(Layer(node, network), pairs, count, generator)
            found[node] = measured.centered().gram.double()
    return found
