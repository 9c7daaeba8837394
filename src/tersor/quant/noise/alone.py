"""Finds the quantizers that do the damage: each is switched on alone in an otherwise float network.

The per-layer sweep of the white paper, arXiv 2106.08295, §6: no labels are needed. The float
network runs once; for each quantizer, only the nodes after it run again.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from torch import fx

from tersor.data.outputs.outputs import Metric
from tersor.data.walk.observe import Batch
from tersor.data.walk.one_at_a_time import outputs_of, stops
from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Applied, Network, OnLayer
from tersor.graph.nodes import source
from tersor.quant.placement.place import quantizers
from tersor.quant.placement.quantizer import FakeQuantize

Side = Literal["weights", "activations"]


@dataclass(frozen=True)
class QuantizerUse:
    """One quantizer that is on, and everything that depends on it.

    Attributes:
        name: The layer whose weights it rounds, or that reads the activation; the name of the value
            if no layer does.
        side: Whether it rounds weights or activations.
        quantizer: The quantizer.
        value: What is rounded: a stored tensor or an activation; the first if there are several.
        first: The node that rounds it.
        readers: The layers that read the rounded value.
    """

    name: str
    side: Side
    quantizer: FakeQuantize
    value: fx.Node
    first: fx.Node
    readers: tuple[Layer, ...]


def quantizer_uses(network: Network) -> list[QuantizerUse]:
    """List every quantizer that is on, in the order of the network.

    Args:
        network: A network whose quantizers have ranges.
    """
    edges: dict[FakeQuantize, list[fx.Node]] = defaultdict(list)
    for node, quantizer in quantizers(network):
        if quantizer.enabled:
            edges[quantizer].append(node)
    return [_use(network, quantizer, nodes) for quantizer, nodes in edges.items()]


def _use(network: Network, quantizer: FakeQuantize, nodes: list[fx.Node]) -> QuantizerUse:
    value = source(nodes[0])
    users = [user for node in nodes for user in node.users]
    readers = tuple(Layer(user, network) for user in users if is_layer(user))
    side: Side = "weights" if value.op == "get_attr" else "activations"
    stored = str(value.target).removesuffix(".weight")
    name = readers[0].name if readers else stored if side == "weights" else value.name
    return QuantizerUse(name, side, quantizer, value, nodes[0], readers)


@contextmanager
def only(network: Network, wanted: Collection[FakeQuantize]) -> Iterator[None]:
    """Switch all other quantizers off temporarily.

    Args:
        network: The network.
        wanted: The quantizers that stay on.
    """
    before = [quantizer for _, quantizer in quantizers(network) if quantizer.enabled]
    try:
        for quantizer in before:
            quantizer.enabled = quantizer in wanted
        yield
    finally:
        for quantizer in before:
            quantizer.enabled = True


def sweep(
    network: Network,
    batches: Sequence[Batch],
    found: list[QuantizerUse],
    metric: Metric | None = None,
    on_layer: OnLayer | None = None,
) -> list[float]:
    """Measure the damage that each quantizer alone does to the outputs.

    Args:
        network: The network, as it was when the quantizer_uses were found.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        found: The quantizers to try; see `quantizer_uses`.
        metric: See `tersor.data.outputs.outputs.damage`.
        on_layer: Called after each, with its number, the total number, and its record.
    """
    at = {use.first: use for use in found}
    measured: dict[FakeQuantize, float] = {}
    with only(network, ()):
        reference = outputs_of(network, batches, simulate=True)
        for stop in stops(network, batches, at, simulate=True):
            use = at[stop.node]
            use.quantizer.enabled = True
            measured[use.quantizer] = stop.rest.damage(reference, metric)
            use.quantizer.enabled = False
            if on_layer is not None:
                numbers = {"damage": measured[use.quantizer]}
                record = Applied(use.name, "sweep", f"{use.side} quantized alone", numbers)
                on_layer(len(measured), len(found), record)
    return [measured[use.quantizer] for use in found]
