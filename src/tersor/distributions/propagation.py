"""Distributions of all values of a network, without data: DFQ, arXiv 1906.04721, §4.2 and §5.

    source:      x ~ N(β, γ²) per channel, as a BatchNorm left it;  range β ± 6γ
    layer:       E[y] = W E[x] + b,  Var[y] = W² Var[x]
    activation:  moments of f(x), x ~ N(E[x], Var[x])

Differs from the paper in: the paper takes the moments of a layer's input from the BatchNorm just
before it. Here they are propagated through the whole graph (additions, concatenation, pooling,
gates, channel shuffles), through any activation function, and back to the mean of the network's
input. Zero padding at the borders counts with its share.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.core.response import mean_from_response
from tersor.distributions.coverage import tap_coverage
from tersor.distributions.distribution import Distribution, uniform
from tersor.distributions.op_rules import visit
from tersor.distributions.walk import Walk
from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Gaussian, Network
from tersor.graph.shapes import shapes


def propagate(
    network: Network,
    input_ranges: Mapping[str, tuple[float, float]] | None = None,
    sigmas: float = 6.0,
) -> dict[str, Distribution]:
    """Compute the mean, variance and range per channel of every value that is known without data.

    Args:
        network: The network. Quantizers on its edges are ignored.
        input_ranges: Input name → smallest and largest value it can take. Such an input is treated
            as uniform; its mean is corrected if a layer with statistics reads it.
        sigmas: Range of a nearly Gaussian value, in standard deviations.

    Returns:
        Node name → distribution; values about which nothing is known are absent. An input of which
        only the mean could be inferred has infinite variance and range.

    Raises:
        InvalidInputError: `input_ranges` names no input of the network, or an empty range.
    """
    ranges = _checked(network, input_ranges or {})
    walk = Walk(network, sigmas, shapes(network))
    with torch.no_grad():
        for node in network.nodes():
            if node.op == "placeholder":
                walk.values[node] = _input(walk, node, ranges.get(node.name))
            elif node.op == "get_attr":
                walk.values[node] = network.tensor(node)
            elif node.op == "call_function":
                walk.values[node] = visit(walk, node)
    return {
        node.name: value for node, value in walk.values.items() if isinstance(value, Distribution)
    }


def infer_input_mean(
    layer: Layer, statistics: Mapping[str, Gaussian], input_shape: torch.Size
) -> Float[Tensor, " inputs"]:
    """Infer the input mean of a layer per channel, from its output mean, which BatchNorm knows.

    `E[W x] + b = β` is solved for `E[x]` by least squares. With fewer output than input channels
    it is the solution of smallest norm.

    Args:
        layer: A layer with an entry in `statistics`.
        statistics: Node name → distribution of its output.
        input_shape: Shape of the layer's input.
    """
    mean = statistics[layer.node.name].mean
    response = mean if layer.bias is None else mean - layer.bias.detach()
    return mean_from_response(layer.grouped_weight(), response, tap_coverage(layer, input_shape))


def _checked(
    network: Network, ranges: Mapping[str, tuple[float, float]]
) -> Mapping[str, tuple[float, float]]:
    names = [node.name for node in network.graph.nodes if node.op == "placeholder"]
    for name, (low, high) in ranges.items():
        if name not in names:
            raise InvalidInputError(
                f"input_ranges names {name!r}, but the inputs are {', '.join(names)}; "
                "use one of these names"
            )
        if not -float("inf") < low <= high < float("inf"):
            raise InvalidInputError(
                f"input_ranges[{name!r}] = ({low}, {high}) is no range; give two finite numbers, "
                "the smallest and the largest input value"
            )
    return ranges


def _input(walk: Walk, node: fx.Node, limits: tuple[float, float] | None) -> Distribution | None:
    """The distribution of an input: its range from the caller, its mean from the first layers."""
    shape = walk.shapes[node]
    if not isinstance(shape, torch.Size) or len(shape) < 2:
        return None
    readers = [Layer(user, walk.network) for user in _readers(node) if is_layer(user)]
    known = [r for r in readers if r.node.name in walk.network.statistics]
    axis = 1 if len(shape) in (2, 4, 5) else len(shape) - 1
    if readers:
        axis = readers[0].channel_axis % len(shape)
    if limits is None and not known:
        return None
    low, high = limits or (-float("inf"), float("inf"))
    result = uniform(low, high, walk.zeros(shape[axis]), axis)
    if not known:
        return result
    mean = infer_input_mean(known[0], walk.network.statistics, shape).clamp(low, high)
    return Distribution(mean, result.var, result.low, result.high, axis)


def _readers(node: fx.Node) -> list[fx.Node]:
    """The nodes that read a value as their first argument, directly or through quantizers."""
    found: list[fx.Node] = []
    for user in node.users:
        if user.args[0] is node:
            found += _readers(user) if user.op == "call_module" else [user]
    return found
