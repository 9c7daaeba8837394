"""Channel pruning: removes channels from every layer that computes or reads them.

    y = W x + b,  x = (x_keep, x_gone)   →   y ≈ W_keep x_keep + b + W_gone E[x_gone]

The result is a smaller dense network. Without the last term, its outputs are those of the original
network with W_gone = 0. The expected values E[x_gone] follow from BatchNorm without data, as in the
bias correction of DFQ, arXiv 1906.04721, §4.2.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from tersor.channels.narrow import narrow
from tersor.channels.partition import Port
from tersor.compression.groups import Group, Groups, UnitMask, UnitMasks, channel_groups
from tersor.core.response import expected_response
from tersor.distributions.coverage import tap_coverage
from tersor.distributions.distribution import Distribution
from tersor.errors import InvalidInputError, InvalidModelError
from tersor.graph.network import Applied, Network, Record
from tersor.graph.shapes import shapes


def prune_groups(
    network: Network,
    keep: UnitMasks,
    distributions: Mapping[str, Distribution] | None = None,
    groups: Groups | None = None,
) -> list[Record]:
    """Prune units of several groups at once.

    Args:
        network: Edited in place.
        keep: Name of a group → which of its units stay.
        distributions: Node name → distribution, from `tersor.distributions.propagation.propagate`.
            The expected values of the pruned channels are then added to the biases of the layers
            that read them.
        groups: All groups of the network, if they are known.

    Returns:
        A record for each group; the records of the network contain them, too.

    Raises:
        InvalidInputError: There is no such group, or some value would lose all its channels.
        InvalidModelError: The network holds quantizers or gates.
    """
    placed = next(iter(network.graph.find_nodes(op="call_module")), None)
    if placed is not None:
        raise InvalidModelError(
            f"{placed.name} is a quantizer or a gate; prune the float network first, then quantize"
        )
    groups = channel_groups(network) if groups is None else groups
    stays = classes_kept(groups, keep)
    records: list[Record] = [_record(groups[name], mask) for name, mask in keep.items()]
    if distributions is not None:
        _keep_means(network, groups, stays, distributions)
        groups = channel_groups(network)  # including the new biases
        stays = classes_kept(groups, keep)
    narrow(network, groups.partition, stays)
    network.records += records
    return records


def classes_kept(groups: Groups, keep: UnitMasks) -> Bool[Tensor, " classes"]:
    """Find the classes of a whole network that stay.

    Args:
        groups: All groups of the network.
        keep: Name of a group → which of its units stay.

    Raises:
        InvalidInputError: There is no such group, or some value would lose all its channels.
    """
    stays = torch.ones(groups.partition.count, dtype=torch.bool)
    names = [group.name for group in groups.found]
    for name, mask in keep.items():
        if name not in names:
            raise InvalidInputError(
                f"there is no group of channels {name!r}; groups: {', '.join(names) or 'none'}"
            )
        if mask.shape != groups[name].units.shape:
            raise InvalidInputError(
                f"keep[{name!r}] has {mask.numel()} entries, but the group has "
                f"{len(groups[name])} units; give one entry for each"
            )
        stays[groups[name].units] = mask.bool().cpu()
    for need, node in groups.partition.needs.items():
        if not bool(stays[list(need)].any()):
            raise InvalidInputError(
                f"{node.name} would lose all its channels; keep at least one of them"
            )
    return stays


def _keep_means(
    network: Network,
    groups: Groups,
    stays: Bool[Tensor, " classes"],
    distributions: Mapping[str, Distribution],
) -> None:
    """Set b ← b + W_gone E[x_gone] in every layer that reads pruned channels."""
    sizes = shapes(network)
    for port in groups.partition.consumers:
        x = distributions.get(port.layer.input.name)
        gone = ~stays[port.classes]
        axis = port.layer.channel_axis % len(sizes[port.layer.input])
        if x is not None and x.axis == axis and bool(gone.any()):
            _add_mean(port, gone, x, sizes[port.layer.input])


def _add_mean(port: Port, gone: Tensor, x: Distribution, shape: torch.Size) -> None:
    layer = port.layer
    weight = layer.grouped_weight()
    mean = torch.where(gone.to(x.mean.device) & x.mean.isfinite(), x.mean, 0.0)
    shift = expected_response(weight, mean, tap_coverage(layer, shape))
    layer.add_to_bias(shift)


def _record(group: Group, keep: UnitMask) -> Applied:
    left = int(keep.sum())
    layers = list(dict.fromkeys(port.layer.name for port in group.producers))
    what = f"{left} of {len(keep)} channels kept, in the {len(layers)} layers that compute them"
    return Applied(group.name, "prune", what, {"units": float(len(keep)), "kept": float(left)})
