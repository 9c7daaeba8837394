"""What few bits mean if they are given as one number: inputs of the layers between first and last.

The first and last layers keep 8 bits, LSQ, arXiv 1902.08153, §2.3. So do additions, pooling and
whatever else is no layer: the papers leave them in floating point. A first layer has no layer
before it, and a last one has none after it; a network may have several of both.

Differs from the paper in: a network without a layer in between has few bits everywhere, since there
would be none at all otherwise.
"""

from collections.abc import Callable, Iterable, Mapping

from torch import fx

from tersor.graph.layers import layers
from tersor.graph.network import Network, Skipped
from tersor.quant.placement.patterns import widths
from tersor.quant.scheme import WIDE, Scheme

Widths = dict[fx.Node, int]
Near = Callable[[fx.Node], Iterable[fx.Node]]
STEP = "few bits"
_ALL = (
    "To give it few bits too, name it or '*' in a mapping of bits, on the command line with --bits "
    "and --activation-bits"
)


def asked_widths(
    network: Network, scheme: Scheme, weights: Mapping[str, int], activations: Mapping[str, int]
) -> tuple[Widths, Widths]:
    """Find the bits of weights and of inputs, by call; leaves records of what keeps 8 bits.

    Args:
        network: A network without quantizers; gets the records.
        scheme: The target.
        weights: Name of a layer or sub-module → bits of its weights.
        activations: Name → bits of its inputs.

    Returns:
        Call → bits of its weights, and call → bits of its inputs, where they are not the scheme's.
    """
    of_weights, of_inputs = widths(network, weights), widths(network, activations, "activations")
    if scheme.few is None:
        return of_weights, of_inputs
    inner = inner_layers(network)
    found = _usual(network, scheme, inner)
    if inner:
        _record(network, scheme, inner, {*of_weights, *of_inputs})
    return found[0] | of_weights, found[1] | of_inputs


def inner_layers(network: Network) -> set[fx.Node]:
    """Find the layers that have a layer before them and one after them.

    Args:
        network: The network.
    """
    found = {layer.node for layer in layers(network)}
    nodes = list(network.graph.nodes)
    later = _beyond(nodes, found, lambda node: node.all_input_nodes)
    earlier = _beyond(reversed(nodes), found, lambda node: node.users)
    return found & later & earlier


def _beyond(nodes: Iterable[fx.Node], marks: set[fx.Node], near: Near) -> set[fx.Node]:
    """The nodes that a mark leads to."""
    found: set[fx.Node] = set()
    for node in nodes:
        if any(other in marks or other in found for other in near(node)):
            found.add(node)
    return found


def _usual(network: Network, scheme: Scheme, inner: set[fx.Node]) -> tuple[Widths, Widths]:
    few = scheme.few
    assert few is not None
    weighted = {layer.node for layer in layers(network)}
    narrow = inner or weighted
    wide = dict.fromkeys(weighted, scheme.weight.bits)
    of_weights = wide | dict.fromkeys(narrow, few.weights) if few.weights else {}
    calls = [node for node in network.nodes() if node.op == "call_function"]
    if not inner:
        return of_weights, dict.fromkeys(calls, few.activations)
    return of_weights, dict.fromkeys(calls, WIDE) | dict.fromkeys(inner, few.activations)


def _record(network: Network, scheme: Scheme, inner: set[fx.Node], named: set[fx.Node]) -> None:
    """Say what keeps 8 bits though few were asked for."""
    reason = f"a first or last layer keeps {WIDE} bits. {_ALL}"
    network.records += [
        Skipped(layer.name, STEP, reason)
        for layer in layers(network)
        if layer.node not in inner | named
    ]
    calls = scheme.integer_ops | scheme.matmuls
    others = [n for n in network.nodes() if n.target in calls and n not in named]
    reason = f"an addition, a pooling or another call that is no layer reads {WIDE} bits. {_ALL}"
    network.records += [Skipped(node.name, STEP, reason) for node in others]
