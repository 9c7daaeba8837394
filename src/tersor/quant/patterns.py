"""Which calls a user means by a name: layers, or everything that a sub-module computes.

A pattern names a layer, a graph node, or a sub-module: `head` and `head.*` stand for all that is
computed in `head`, layers and functions alike; `*` and `?` are wildcards. Networks read from ONNX
have no sub-modules.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch

from torch import fx

from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Network


def excluded(network: Network, patterns: Iterable[str]) -> set[fx.Node]:
    """The calls that stay in floating point.

    Args:
        network: The network.
        patterns: Names.

    Raises:
        InvalidInputError: A pattern matches nothing; says what there is.
    """
    named = _named(network)
    return {node for pattern in patterns for node in _matching(network, named, pattern, "exclude")}


def widths(network: Network, bits: Mapping[str, int]) -> dict[fx.Node, int]:
    """The bits that a user gives to single layers.

    Args:
        network: The network.
        bits: Name → bits; of several patterns that name a layer, the last counts.

    Raises:
        InvalidInputError: A pattern matches nothing; says what there is.
    """
    named = _named(network)
    return {
        node: width
        for pattern, width in bits.items()
        for node in _matching(network, named, pattern, "bits")
    }


def _named(network: Network) -> dict[fx.Node, list[str]]:
    return {n: _names(network, n) for n in network.nodes() if n.op == "call_function"}


def _matching(
    network: Network, named: dict[fx.Node, list[str]], pattern: str, option: str
) -> list[fx.Node]:
    matches = [n for n, own in named.items() if any(_fits(name, pattern) for name in own)]
    if not matches:
        raise InvalidInputError(
            f"{option}: no layer or sub-module is called {pattern!r}; there are "
            f"{', '.join(_choices(network))}"
        )
    return matches


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or fnmatch(name, pattern)  # names from elsewhere may hold brackets


def _names(network: Network, node: fx.Node) -> list[str]:
    """Every name that stands for this call, those of the modules around it included."""
    modules = _modules(node)
    names = [*modules, node.name, ".".join([*modules[-1:], node.name])]
    if is_layer(node):
        names.append(Layer(node, network).name)
    return names


def _modules(node: fx.Node) -> list[str]:
    """The sub-modules that a call is made in, the outermost first."""
    stack = node.meta.get("nn_module_stack") or {}
    return [path for path, _ in stack.values() if path]


def _choices(network: Network) -> list[str]:
    """Outermost sub-modules and all layers, each once."""
    outermost = [path for node in network.nodes() for path in _modules(node)[:1]]
    named = [Layer(node, network).name for node in network.nodes() if is_layer(node)]
    return list(dict.fromkeys(outermost + named))
