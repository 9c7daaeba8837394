"""E_v (vᵀ J δ)² = ‖J δ‖²: how large an error δ inside a network is at its outputs, to first order.

J is the Jacobian of the outputs with respect to the value that has the error, and v has random
signs. vᵀ J is a gradient, so one backward pass serves every value of the network, and every error
that it may have.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from tersor.core.channel_scores import signs
from tersor.data.outputs.outputs import floats
from tersor.data.walk.observe import Batch, in_order
from tersor.graph.network import Network


@dataclass(frozen=True)
class Pull:
    """How the outputs pull at what a node returns.

    Attributes:
        node: The node.
        given: Its first input.
        gradients: vᵀ J, in the shape of the node's output, for every v.
    """

    node: fx.Node
    given: Tensor
    gradients: tuple[Tensor, ...]


def output_pulls(
    network: Network,
    nodes: Collection[fx.Node],
    batch: Batch,
    units: Sequence[float],
    draws: int,
    generator: torch.Generator,
) -> Iterator[Pull]:
    """Iterate over nodes, with the gradients of the outputs times random signs.

    Args:
        network: The network; every op has a gradient.
        nodes: The nodes. Those that no output depends on are left out.
        batch: Inputs, as `(args, kwargs)`.
        units: For each output in floating point, the size that counts as 1.
        draws: How many v to draw.
        generator: The source of random signs.
    """
    runner = _Watched(network, nodes)
    with torch.enable_grad():
        outputs = runner.run(*in_order(network, *batch), enable_io_processing=False)
    written = [pair[1] for pair in runner.seen.values()]
    found = [
        _gradients(outputs, written, units, generator, is_last=draw == draws - 1)
        for draw in range(draws)
    ]
    for (node, (given, _)), *each in zip(runner.seen.items(), *found, strict=True):
        if each[0] is not None:
            yield Pull(node, given.detach(), tuple(each))


def _gradients(
    outputs: Any,
    written: list[Tensor],
    units: Sequence[float],
    generator: torch.Generator,
    is_last: bool,
) -> tuple[Tensor | None, ...]:
    with torch.enable_grad():
        parts = zip(floats(outputs), units, strict=True)
        total = torch.stack([(y * signs(y, generator)).sum() / unit for y, unit in parts]).sum()
        if not total.requires_grad:
            return (None,) * len(written)
        return torch.autograd.grad(total, written, retain_graph=not is_last, allow_unused=True)


class _Watched(fx.Interpreter):
    """Notes what some nodes read and return. No gradient is computed of the weights."""

    def __init__(self, network: Network, nodes: Collection[fx.Node]) -> None:
        super().__init__(network.module)
        self.nodes = nodes
        self.seen: dict[fx.Node, tuple[Tensor, Tensor]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n in self.nodes:
            given: Any = self.env[n.all_input_nodes[0]]
            value = value if value.requires_grad else value.detach().requires_grad_()
            self.seen[n] = given, value
        return value
