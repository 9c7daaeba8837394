"""Finds the calls that a user means by a name: layers, or everything computed inside a sub-module.

A pattern names a layer, a graph node, or a sub-module. `head` and `head.*` stand for everything
computed inside `head`, layers and functions alike; `*` and `?` are wildcards. The user's own names
take precedence over those of graph nodes. Networks read from ONNX have no sub-modules.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from itertools import chain
from typing import Any

from torch import fx

from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Network

_NO_MODULE = "_empty_nn_module_stack"  # PyTorch's word for a call outside of every sub-module


def excluded(network: Network, patterns: Iterable[str]) -> set[fx.Node]:
    """Find the calls that stay in floating point.

    Args:
        network: The network.
        patterns: Names.

    Raises:
        InvalidInputError: A pattern matches nothing; the message lists the names.
    """
    named = _named(network)
    return {node for pattern in patterns for node in _matching(network, named, pattern, "exclude")}


def patterns(given: Iterable[str]) -> tuple[str, ...]:
    """Convert one name or several to a tuple of names.

    Args:
        given: The value of `exclude`.

    Raises:
        InvalidInputError: An item is not a name, such as the module itself.
    """
    is_one = isinstance(given, str) or not isinstance(given, Iterable)
    names: tuple[Any, ...] = (given,) if is_one else tuple(given)
    for name in names:
        if not isinstance(name, str):
            raise InvalidInputError(
                f"exclude: {type(name).__name__} is no name; give names of layers or sub-modules, "
                "as `model.named_modules()` and `tersor.inspect` list them"
            )
    return names


def widths(
    network: Network, bits: Mapping[str, int], option: str = "weights"
) -> dict[fx.Node, int]:
    """Find the bits that a user gives to single layers.

    Args:
        network: The network.
        bits: Name → bits; if several patterns match a layer, the last one counts.
        option: Name of the option, for the message.

    Raises:
        InvalidInputError: A pattern matches nothing; the message lists the names.
    """
    named = _named(network)
    return {
        node: width
        for pattern, width in bits.items()
        for node in _matching(network, named, pattern, option)
    }


def _named(network: Network) -> dict[fx.Node, tuple[list[str], list[str]]]:
    """List every call with the user's names, and those of the graph."""
    return {
        n: (_given(network, n), [n.name, ".".join([*_modules(n)[-1:], n.name])])
        for n in network.nodes()
        if n.op == "call_function"
    }


def _matching(
    network: Network,
    named: dict[fx.Node, tuple[list[str], list[str]]],
    pattern: str,
    option: str,
) -> list[fx.Node]:
    """Find the calls that a pattern matches; the user's own names take precedence."""
    matches = [n for n, (given, _) in named.items() if pattern in given] or [
        n for n, names in named.items() if any(fnmatch(name, pattern) for name in chain(*names))
    ]
    if not matches:
        raise InvalidInputError(
            f"{option}: no layer or sub-module is called {pattern!r}; there are "
            f"{', '.join(_choices(network))}"
        )
    return matches


def _given(network: Network, node: fx.Node) -> list[str]:
    """The user's names of a call, including those of the modules around it."""
    return [*_modules(node), *([Layer(node, network).name] if is_layer(node) else [])]


def _modules(node: fx.Node) -> list[str]:
    """The sub-modules that a call is made in, the outermost first."""
    stack = node.meta.get("nn_module_stack") or {}
    return [path for path, _ in stack.values() if path and not path.startswith(_NO_MODULE)]


def _choices(network: Network) -> list[str]:
    """Outermost sub-modules and all layers, each once."""
    outermost = [path for node in network.nodes() for path in _modules(node)[:1]]
    named = [Layer(node, network).name for node in network.nodes() if is_layer(node)]
    return list(dict.fromkeys(outermost + named))
