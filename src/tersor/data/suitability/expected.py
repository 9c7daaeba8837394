"""What a network expects to see: the statistics of its first BatchNorms, against those of samples.

A BatchNorm keeps the mean and the variance of its input over the training set. As long as no other
BatchNorm comes before it, samples that are prepared like those of the training give the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.core.gaussian_distance import gaussian_distance
from tersor.data.given.pieces import pieces
from tersor.data.walk.observe import Batch
from tersor.data.walk.stream import Stream
from tersor.graph.batchnorm import BatchNorm, batch_norms
from tersor.graph.network import Network
from tersor.graph.nodes import ancestors, argument

_EPS = 1e-5  # for statistics that a pass left behind; a BatchNorm has its own


@dataclass(frozen=True)
class Expected:
    """The mean and the variance of a value, as the network learned them.

    Attributes:
        name: The user's name of the BatchNorm, or of the layer that it was folded into.
        node: The node that computes the value; its channels are axis 1.
        mean: Mean per channel.
        var: Variance per channel, plus ε.
        eps: The ε.
        is_bound: Whether the variance is only the largest one that is expected.
    """

    name: str
    node: fx.Node
    mean: Float[Tensor, " channels"]
    var: Float[Tensor, " channels"]
    eps: float
    is_bound: bool = False


def expected(network: Network) -> list[Expected]:
    """Find what the first BatchNorms of a network, also folded ones, expect to see.

    Args:
        network: The captured network.
    """
    known = {x.node: x for x in _of_batch_norms(network)} | {x.node: x for x in _kept(network)}
    after: set[fx.Node] = set()
    found = []
    for node in network.graph.nodes:
        if any(before in after or before in known for before in node.all_input_nodes):
            after.add(node)
        if node in known and node not in after and _depends_on_input(node):
            found.append(known[node])
    return found


def untrained(network: Network) -> list[str]:
    """Name the BatchNorms whose statistics are those before any training: mean 0, variance 1.

    Args:
        network: The captured network.
    """
    return [
        norm.name
        for norm in batch_norms(network)
        if norm.refusal is None
        and not network.tensor(argument(norm.node, "running_mean")).any()
        and bool((network.tensor(argument(norm.node, "running_var")) == 1).all())
    ]


def _of_batch_norms(network: Network) -> Iterable[Expected]:
    """The inputs of BatchNorms that have been trained."""
    names = set(untrained(network))
    for norm in batch_norms(network):
        if norm.refusal is None and norm.name not in names:
            yield _of(norm)


def _of(norm: BatchNorm) -> Expected:
    mean, var = (
        norm.network.tensor(argument(norm.node, name)).detach()
        for name in ("running_mean", "running_var")
    )
    eps = float(argument(norm.node, "eps"))
    return Expected(norm.name, norm.input, mean, var + eps, eps)


def _kept(network: Network) -> Iterable[Expected]:
    """The outputs of BatchNorms that were folded: mean β, standard deviation up to |γ|.

    It is below |γ| where ε is not small beside the variance, as in channels that are dead.
    """
    for node in network.graph.nodes:
        known = network.statistics.get(node.name)
        if known is not None and node.target is not torch.ops.aten.batch_norm.default:
            yield Expected(node.name, node, known.mean, known.std.square() + _EPS, _EPS, True)


def _depends_on_input(node: fx.Node) -> bool:
    return any(before.op == "placeholder" for before in ancestors([node]))


def channel_moments(
    network: Network, batches: Sequence[Batch], nodes: Sequence[fx.Node]
) -> list[tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]]:
    """Measure the mean and variance of each channel of some values, and compute nothing else.

    Args:
        network: The network; its quantizers have no effect.
        batches: Inputs, as `(args, kwargs)`.
        nodes: The nodes that compute the values; their channels are axis 1.

    Returns:
        Mean and variance for each node.
    """
    needed, parts = ancestors(nodes), {node: list[_Part]() for node in nodes}
    for batch in pieces(network, batches):
        stream = Stream(network, [batch], simulate=False)
        for node in network.graph.nodes:
            if node in needed:
                stream.run(node)
            if node in parts:
                rows = stream.of(node)[0].transpose(0, 1).flatten(1)
                parts[node].append((*torch.var_mean(rows, 1, correction=0), rows.shape[1]))
    return [_moments(parts[node]) for node in nodes]


_Part = tuple[Tensor, Tensor, int]  # variance and mean of a batch, and the number of values


def _moments(parts: list[_Part]) -> tuple[Tensor, Tensor]:
    """The mean and the variance of all batches together."""
    count = sum(part[2] for part in parts)
    mean = torch.stack([mean * (n / count) for _, mean, n in parts]).sum(0)
    spread = [(var + (own - mean).square()) * (n / count) for var, own, n in parts]
    return mean, torch.stack(spread).sum(0)


def distance(network: Network, batches: Sequence[Batch], wanted: Sequence[Expected]) -> float:
    """Measure how far samples are from what a network expects: 0 is the same, above 0.1 is not.

    Args:
        network: The network.
        batches: Samples, as `(args, kwargs)`.
        wanted: What it expects, at least one value.

    Returns:
        The mean over all channels; see `tersor.core.gaussian_distance`.
    """
    seen = channel_moments(network, batches, [x.node for x in wanted])
    apart = [
        gaussian_distance(mean, var + x.eps, x.mean, _variance(x, var + x.eps))
        for (mean, var), x in zip(seen, wanted, strict=True)
    ]
    return float(torch.cat(apart).mean())


def _variance(wanted: Expected, seen: Tensor) -> Tensor:
    return wanted.var.minimum(seen) if wanted.is_bound else wanted.var
