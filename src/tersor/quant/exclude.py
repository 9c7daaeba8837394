"""What a user keeps in floating point: layers, or everything that a sub-module computes."""

from collections.abc import Iterable
from fnmatch import fnmatch

from torch import fx

from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Network


def excluded(network: Network, patterns: Iterable[str]) -> set[fx.Node]:
    """The calls that stay in floating point.

    A pattern names a layer, a graph node, or a sub-module: `head` and `head.*` stand for all that
    is computed in `head`, layers and functions alike. Networks read from ONNX have no sub-modules.

    Args:
        network: The network.
        patterns: Names; `*` and `?` are wildcards.

    Raises:
        InvalidInputError: A pattern matches nothing; says what there is.
    """
    names = {n: _names(network, n) for n in network.nodes() if n.op == "call_function"}
    found: set[fx.Node] = set()
    for pattern in patterns:
        matches = {n for n, own in names.items() if any(fnmatch(name, pattern) for name in own)}
        if not matches:
            raise InvalidInputError(
                f"exclude: no layer or sub-module is called {pattern!r}; there are "
                f"{', '.join(_choices(network))}"
            )
        found |= matches
    return found


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
