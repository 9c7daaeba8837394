"""Simulates the compression of a part by changed weights.

The graph is not edited for this. A chain computes the same as its layer with the product of the
factors as weight, and pruned channels are zeros in the weights that read them.
"""

from collections.abc import Callable, Mapping
from functools import cache

from torch import Tensor

from tersor.compression.chain_fit import Fitted, Refit, chain_fits
from tersor.compression.parts import Part
from tersor.compression.ways import Factored, Way
from tersor.core.decompose import compose
from tersor.core.quadratic import Quadratic, best_bias, best_weights
from tersor.core.ranks import Ranks
from tersor.data.gram import Moments
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
    layer = changed.get(part.name)

    @cache
    def fits(method: Method) -> Callable[[Ranks], Fitted]:
        assert layer is not None
        return chain_fits(layer, method, moments.get(part.name), options)

    def weights(way: Way) -> dict[str, Changed]:
        if isinstance(way, Factored):
            fitted = fits(way.method)(way.ranks)
            return {way.layer: (compose(fitted.chain), fitted.shift)}
        found: dict[str, Changed] = {}
        for name, unit in part.reads.items():
            stays = ((unit < 0) | way.mask[unit]).to(changed[name].weight.device)
            found[name] = _without(changed[name], stays, moments.get(name), options.damping)
        return found

    return weights


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
