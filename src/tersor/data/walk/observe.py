"""Runs the network on batches, and passes chosen values to watchers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from tersor.core.ranges import minmax
from tersor.data.walk.plain_run import PlainRun, Watchers, stored_tensors
from tersor.graph.network import Network
from tersor.graph.nodes import ancestors

Batch = tuple[tuple[Any, ...], dict[str, Any]]  # positional and keyword inputs


def samples_of(batch: Batch) -> int:
    """How many samples a batch holds.

    Args:
        batch: Inputs, as `(args, kwargs)`.
    """
    sizes = [len(x) for x in pytree.tree_leaves(batch) if getattr(x, "ndim", 0)]
    return max(sizes, default=1)


@dataclass
class Extremes:
    """The smallest and largest value seen so far.

    Attributes:
        axis: Channel axis, or None for the whole tensor.
        low: Smallest value, 0-d or per channel; None before the first batch.
        high: Largest value, likewise.
    """

    axis: int | None = None
    low: Float[Tensor, "..."] | None = None
    high: Float[Tensor, "..."] | None = None

    def __call__(self, value: Float[Tensor, "..."]) -> None:
        """Update the extremes with one batch of values."""
        low, high = minmax(value, self.axis)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)


def observe(network: Network, batches: Iterable[Batch], watchers: Watchers) -> None:
    """Run the float network on batches, as far as needed, and pass values to their watchers.

    Args:
        network: The network; its quantizers have no effect.
        batches: Inputs, as `(args, kwargs)` in the structure of the network's own example.
        watchers: Node → function that is called with the node's value for every batch.
    """
    runner = _Observer(network, watchers)
    stored = {node: x for node, x in stored_tensors(network).items() if node not in watchers}
    with torch.no_grad():
        for args, kwargs in batches:
            leaves = in_order(network, args, kwargs)
            runner.run(*leaves, initial_env=dict(stored), enable_io_processing=False)


def in_order(network: Network, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """The inputs of one batch in the order of the graph's placeholders.

    Args:
        network: The network.
        args: Positional inputs.
        kwargs: Keyword inputs, in any order.
    """
    return pytree.tree_leaves((args, {name: kwargs[name] for name in network.kwargs}))


class _Observer(PlainRun):
    """Runs what the watched nodes depend on."""

    def __init__(self, network: Network, watchers: Watchers) -> None:
        super().__init__(network, watchers)
        self._needed = ancestors(watchers)

    def run_node(self, n: fx.Node) -> Any:
        if n not in self._needed and n.op != "placeholder":
            return None
        if n.op == "call_module":  # in a Network, these are the quantizers
            return self.env[n.all_input_nodes[0]]
        return super().run_node(n)
