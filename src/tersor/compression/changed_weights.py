"""Simulates the compression of a part by changed weights.

The graph is not edited for this. A chain computes the same as its layer with the product of the
factors as weight, pruned channels are zeros in the weights that read them, and of a branch that is
left out only the bias of its last layer remains.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from tersor.compression.chain_fit import Fitted, Refit, chain_fits
from tersor.compression.parts import Part
from tersor.compression.ways import Dropped, Factored, Way
from tersor.core.decompose import compose
from tersor.core.quadratic import Quadratic, best_bias, best_weights
from tersor.core.ranks import Ranks
from tersor.data.walk.gram import Moments, moments_of
from tersor.data.walk.per_batch import lengths
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network
from tersor.names import Method

Changed = tuple[Tensor, Tensor | None]  # a weight, and the correction of the bias


def changed_layers(network: Network, part: Part) -> dict[str, Layer]:
    """Find the layers whose weights simulate the ways of a part, by name.

    Args:
        network: The network.
        part: The part.
    """
    return {layer.name: layer for layer in layers(network) if layer.name in part.changes}


def weights_by_way(
    changed: Mapping[str, Layer], part: Part, moments: Mapping[str, Moments], options: Refit
) -> Callable[[Way], dict[str, Changed]]:
    """Compute the weights that simulate a way: layer name → weight, and correction of the bias.

    Args:
        changed: The result of `changed_layers`, before any weight is changed.
        part: The part.
        moments: Data of the changed layers. Layers without data are not fitted.
        options: How the weights are fitted.
    """
    of_layers = {
        name: weight_by_way(changed[name], part, moments.get(name), options)
        for name in part.changes
    }
    return lambda way: {name: weight_of(way) for name, weight_of in of_layers.items()}


def weight_by_way(
    layer: Layer, part: Part, moments: Moments | None, options: Refit
) -> Callable[[Way], Changed]:
    """Compute the weight of one of the layers that a part changes; see `weights_by_way`.

    Args:
        layer: The layer, before its weight is changed.
        part: The part.
        moments: Data of the layer. Without any, it is not fitted.
        options: How the weight is fitted.
    """

    @cache
    def fits(method: Method) -> Callable[[Ranks], Fitted]:
        return chain_fits(layer, method, moments, options)

    def weight(way: Way) -> Changed:
        if isinstance(way, Factored):
            fitted = fits(way.method)(way.ranks)
            return compose(fitted.chain), fitted.shift
        if isinstance(way, Dropped):
            return torch.zeros_like(layer.weight), _mean(moments)
        unit = part.reads[layer.name]
        stays = ((unit < 0) | way.mask[unit]).to(layer.weight.device)
        return _without(layer, stays, moments, options.damping)

    return weight


def _mean(moments: Moments | None) -> Tensor | None:
    """E[y] without the bias."""
    return None if moments is None else moments.outputs.flatten()


def moments_at(
    layer: Layer, given: Sequence[Tensor], written: Sequence[Tensor], options: Refit
) -> Moments | None:
    """Measure the data that a chain or a weight can be fitted to; None if it cannot be fitted.

    Args:
        layer: The layer.
        given: Its input for every batch.
        written: Its output for every batch.
        options: How the weights are fitted.
    """
    if layer.groups > 1 or layer.is_transposed:
        return None
    count = options.positions(layer, sum(lengths(given)))
    generator = torch.Generator().manual_seed(options.seed)
    return moments_of(layer, zip(given, written, strict=True), count, generator)


def _without(layer: Layer, stays: Tensor, moments: Moments | None, damping: float) -> Changed:
    """Drop some input channels of a layer; with data, the remaining ones compensate for them."""
    weight = layer.grouped_weight().detach()
    of_group = stays.reshape(layer.groups, 1, -1, *[1] * (weight.ndim - 3))
    cut = weight * of_group
    if moments is None or layer.groups > 1 or layer.is_transposed:
        return layer.ungrouped(cut), None
    inside = of_group.expand_as(weight[:, :1]).flatten(2)[0, 0]
    fitted = cut.flatten(2)
    free = moments.centered()
    gram, target = free.gram[:, inside][..., inside], free.target[..., inside]
    part = Quadratic(gram, target, free.energy, free.uncertain)
    fitted[..., inside] = best_weights(part.damped(fitted[..., inside], damping))
    shift = best_bias(fitted, moments.inputs, moments.outputs)[0]
    return layer.ungrouped(fitted.reshape(weight.shape)), shift


def weights_lost(changed: Mapping[str, Layer], weights: Mapping[str, Changed]) -> float:
    """Compute Σ ‖W − Ŵ‖² / ‖W‖² over the changed layers.

    Args:
        changed: The layers, before their weights are changed.
        weights: Layer name → its changed weight.
    """
    total = 0.0
    for name, (weight, _) in weights.items():
        was = changed[name].weight.detach()
        energy = was.square().sum().clamp(min=torch.finfo(was.dtype).tiny)
        total += float((weight - was).square().sum() / energy)
    return total
