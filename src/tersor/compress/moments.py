"""E[x xᵀ], E[y xᵀ], E[y²], E[x], E[y] of a layer, in float64, from a sample of positions."""

import math
from collections.abc import Collection

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.core.quadratic import Quadratic
from tersor.graph.layers import Layer, operand
from tersor.graph.network import Network
from tersor.graph.patches import choose, read, written
from tersor.graph.stats import Batch
from tersor.graph.stream import Stream

Means = Float[Tensor, "groups _"]


def moments(
    layer: Layer, given: list[Tensor], wanted: list[Tensor], positions: int, seed: int
) -> tuple[Quadratic, Means, Means]:
    """How far the layer's outputs are from wanted ones, as a function of its weights.

    Args:
        layer: A linear layer or a convolution that is not transposed.
        given: Its input, for every batch.
        wanted: What it should write, for every batch.
        positions: How many output positions to sample of all batches together.
        seed: Of their choice.

    Returns:
        The problem without a bias, E[x] and E[y].
    """
    generator = torch.Generator().manual_seed(seed)
    count = math.ceil(positions / sum(map(len, given)))
    sums: list[Tensor] = []
    samples = 0
    for x, y in zip(given, wanted, strict=True):
        at = choose(layer, y, count, generator)
        patches, outputs = read(layer, x, at).double(), written(layer, y, at).double()
        samples += patches.shape[-1]
        parts = [
            patches @ patches.mT,
            outputs @ patches.mT,
            outputs.square().sum(-1),
            patches.sum(-1),
            outputs.sum(-1),
        ]
        sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
    gram, cross, energy, x_mean, y_mean = (total / samples for total in sums)
    return Quadratic(gram, cross, energy), x_mean, y_mean


def input_covariances(
    network: Network,
    nodes: Collection[fx.Node],
    batches: list[Batch],
    positions: int,
    seed: int = 0,
) -> dict[fx.Node, Float[Tensor, "groups inputs inputs"]]:
    """Cov(x) of what some layers read.

    Args:
        network: The network.
        nodes: Calls of layers that are not transposed.
        batches: Inputs, as `(args, kwargs)`.
        positions: Output positions to sample for each layer.
        seed: Of their choice.
    """
    stream, found = Stream(network, batches, simulate=False), {}
    for node in network.nodes():
        chosen = node in nodes
        given = stream.of(operand(node)) if chosen else []
        stream.run(node)
        if chosen:
            results = stream.of(node)
            problem, x, y = moments(Layer(node, network), given, results, positions, seed)
            found[node] = problem.centered(x, y).gram
    return found
