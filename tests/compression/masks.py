"""What pruning is compared with: the whole network, whose weights that read what goes are zero."""

import torch
from torch import Tensor

from tersor.compression.groups import channel_groups
from tersor.compression.prune import classes_kept, prune_groups
from tersor.graph.layers import layers, per_input
from tersor.graph.network import Network
from tersor.graph.shapes import is_free, shapes
from tests.captured import assert_same_function


def masked(network: Network, keep: dict[str, Tensor]) -> Network:
    """A copy with zeros."""
    network = network.copy()
    groups = channel_groups(network)
    stays = classes_kept(groups, keep)
    for port in groups.partition.consumers:
        weight = port.layer.grouped_weight()
        port.layer.set_grouped_weight(weight * per_input(stays[port.classes].to(weight), weight))
    return network


def random_keep(network: Network, share: float = 0.5, seed: int = 0) -> dict[str, Tensor]:
    """A random share of every group."""
    generator = torch.Generator().manual_seed(seed)
    return {
        group.name: group.best(torch.rand(len(group), generator=generator), int(share * len(group)))
        for group in channel_groups(network).found
    }


def check_pruning(network: Network, keep: dict[str, Tensor]) -> Network:
    """Prune a copy, compare it with the masked network, and look at the shapes that it notes."""
    want, pruned = masked(network, keep), network.copy()
    prune_groups(pruned, keep)
    args = tuple(x.flip(-1).repeat(2, *[1] * (x.ndim - 1)) for x in network.args)
    kwargs = {key: x.repeat(2, *[1] * (x.ndim - 1)) for key, x in network.kwargs.items()}
    inputs = [(network.args, network.kwargs), (args, kwargs)]
    assert_same_function(pruned, want, inputs, tolerance=1e-10)
    check_notes(pruned)
    return pruned


def check_notes(network: Network) -> None:
    """Every node has the shape that it is said to have; every layer its statistics."""
    seen = shapes(network)
    for node in network.nodes():
        noted = node.meta.get("val")
        if isinstance(noted, Tensor):
            pairs = zip(noted.shape, seen[node], strict=True)
            assert all(is_free(a) or int(a) == b for a, b in pairs), node
    for layer in layers(network):
        notes = network.statistics.get(layer.node.name)
        assert notes is None or len(notes.mean) == seen[layer.node][layer.channel_axis]
