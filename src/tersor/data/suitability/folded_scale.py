"""Tells whether pictures have the scale that a network without BatchNorms was trained on.

Where BatchNorm was folded into the first convolution, its mean and variance are gone, but its shift
is the bias, which is about as large as what the convolution adds to it. With pixels in 0…255
instead of 0…1 the bias hardly counts any more, and the other way round nothing else does.
"""

from collections.abc import Sequence

from torch import Tensor, fx

from tersor.data.invented.synthetic import pictures
from tersor.data.pictures.preparations import PIXELS, UNIT, could_be
from tersor.data.suitability.expected import channel_moments
from tersor.data.suitability.some_values import some_values
from tersor.data.walk.observe import Batch
from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Network
from tersor.graph.nodes import ancestors

_LARGE, _SMALL = 20.0, 1 / 30  # deviation over bias: from 0.4 to 1.1 where samples are right
_RIGHT = (0.05, 5.0)  # the same once the samples are corrected
_NORMS = ("batch_norm", "instance_norm", "group_norm", "layer_norm")


def scale_words(network: Network, batches: Sequence[Batch]) -> str | None:
    """Say what is wrong with the scale of pictures, or None if nothing is known to be wrong.

    Args:
        network: The captured network.
        batches: Samples, as `(args, kwargs)`.
    """
    first = _first_convolution(network)
    if first is None or not pictures(batches[:1]):
        return None
    ratio = _deviation_over_bias(first, batches)
    given, wanted, factor = (PIXELS, UNIT, 1 / 255) if ratio > 1 else (UNIT, PIXELS, 255.0)
    is_off = ratio > _LARGE or ratio < _SMALL
    if not (is_off and _RIGHT[0] < ratio * factor < _RIGHT[1]):
        return None
    if not could_be(given, some_values(batches).reshape(1, 1, 1, -1)):
        return None
    extent = "large" if ratio > 1 else "small"
    may = ", perhaps normalized as well" if wanted is UNIT else ""
    return (
        f"they look like {given.words}, and what the first layer {first.name!r} makes of them is "
        f"far too {extent} for its bias, so the network seems to fit {wanted.words}{may}. Prepare "
        f"pixels p in 0…255 as {wanted.formula}"
    )


def _first_convolution(network: Network) -> Layer | None:
    """The first layer, if it is a convolution with a bias and no norm follows."""
    node = next((node for node in network.graph.nodes if is_layer(node)), None)
    if node is None or any(is_layer(x) for x in ancestors(node.all_input_nodes)):
        return None
    layer = Layer(node, network)
    if (
        layer.computed
        or layer.kernel_dims != 2
        or layer.bias is None
        or any(map(_is_norm, node.users))
    ):
        return None
    return layer


def _is_norm(node: fx.Node) -> bool:
    return any(name in str(node.target) for name in _NORMS)


def _deviation_over_bias(layer: Layer, batches: Sequence[Batch]) -> float:
    """Standard deviation of the output over the size of the bias, in the median channel."""
    ((_, var),) = channel_moments(layer.network, batches, [layer.node])
    assert isinstance(layer.bias, Tensor)
    return float((var.sqrt() / layer.bias.detach().abs().clamp(min=1e-12)).median())
