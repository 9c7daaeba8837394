"""Runs a graph node by node, with nothing around the calls: no trace, no record of the origin.

Small networks run hundreds of nodes for a batch, whose results take no longer than a look at them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, fx

from tersor.graph.network import Network

Watchers = Mapping[fx.Node, Callable[[Tensor], None]]  # node → what is called with its value


class PlainRun(fx.Interpreter):
    """An interpreter that adds little to the time of what it calls, and shows values to watchers.

    Attributes:
        watchers: The nodes whose values are shown.
    """

    def __init__(self, network: Network, watchers: Watchers, graph: fx.Graph | None = None) -> None:
        """Prepare a run.

        Args:
            network: The network.
            watchers: The nodes whose values are shown.
            graph: What is run instead of the graph of the network.
        """
        super().__init__(network.module, graph=graph)
        self.watchers = watchers

    def run_node(self, n: fx.Node) -> Any:
        """Compute a node of what is in `env`, and show its value to whoever watches it."""
        value = self._value(n)
        if n in self.watchers:
            self.watchers[n](value)
        return value

    def _value(self, n: fx.Node) -> Any:
        if n.op == "call_function":
            function: Any = n.target
        elif n.op == "call_module":
            function = self.fetch_attr(str(n.target))
        else:
            return super().run_node(n)
        known = self.env.__getitem__
        kwargs = fx.map_arg(n.kwargs, known) if n.kwargs else {}
        return function(*fx.map_arg(n.args, known), **kwargs)


def stored_tensors(network: Network) -> dict[fx.Node, Any]:
    """The nodes of tensors that a network stores, each with the tensor.

    Args:
        network: The network.
    """
    nodes = network.graph.find_nodes(op="get_attr")
    return {node: network.tensor(node) for node in nodes if node.users}
