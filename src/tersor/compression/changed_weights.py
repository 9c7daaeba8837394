"""Simulates the compression of a part by changed weights.

The graph is not edited for this. A chain computes the same as its layer with the product of the
factors as weight, and pruned channels are zeros in the weights that read them.
"""

from collections.abc import Mapping

from torch import Tensor

from tersor.compression.chain_fit import Refit, fit_chain
from tersor.compression.parts import Part
from tersor.compression.ways import Factored, Way
from tersor.core.decompose import compose
from tersor.core.quadratic import Quadratic, best_bias, best_weights
from tersor.data.gram import Moments
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network

Changed = tuple[Tensor, Tensor | None]  # a weight, and the correction of the bias


def changed_layers(network: Network, part: Part) -> dict[str, Layer]:
    """Find the layers whose weights simulate the ways of a part, by name.

    Args:
        network: The network.
        part: The part.
    """
    names = part.reads or {part.name}
    return {layer.name: layer for layer in layers(network) if layer.name in names}


def weights_of(
    changed: Mapping[str, Layer],
    part: Part,
    way: Way,
    moments: Mapping[str, Moments],
    options: Refit,
) -> dict[str, Changed]:
    """Compute the weights that simulate a way: layer name → weight, and correction of the bias.

    Args:
        changed: The result of `changed_layers`.
        part: The part.
        way: One of its ways.
        moments: Data of the changed layers. Layers without data are not fitted.
        options: How the weights are fitted.
    """
    if isinstance(way, Factored):
        known = moments.get(way.layer)
        fitted = fit_chain(changed[way.layer], way.method, way.ranks, known, options)
        return {way.layer: (compose(fitted.chain), fitted.shift)}
    found: dict[str, Changed] = {}
    for name, unit in part.reads.items():
        stays = ((unit < 0) | way.mask[unit]).to(changed[name].weight.device)
        found[name] = _without(changed[name], stays, moments.get(name), options.damping)
    return found


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
