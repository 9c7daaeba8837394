"""The file under construction: a copy of the one that came in, and what is known of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from torch import Tensor, fx

from tersor.core.grid import Grid
from tersor.graph.footprint import Footprint
from tersor.graph.network import Network
from tersor.graph.origin import Origin


@dataclass(frozen=True)
class Wish:
    """Names that new values get once it is known which are free.

    Attributes:
        name: Of the first value.
        values: Value → what is appended to the name.
    """

    name: str
    values: tuple[tuple[ir.Value, str], ...]


@dataclass
class Draft:
    """The file under construction.

    Attributes:
        network: The network; it is not changed.
        origin: The file that came in.
        model: The copy that is edited.
        integer_clip: Whether a clip in front of a quantizer moves onto the integers after it.
        prints: The calls of the network by node of the file.
        kept: Names of the nodes that compute what they computed when the file was read.
        refs: Value of the file → what it was in the network when the file was read.
        homes: The reverse.
        values: Node of the network → its value, as far as it is known.
        grids: Stored integers → their grid.
        folded: Those that only the file has: they become floats when it is loaded.
        wishes: Names of new values, in order.
        parameters: Module of a quantizer → its scale and zero point.
        computed: What depends on an input of the network.
        constants: Any other call → its value; None if it has none that is always the same.
        heirs: What a value of the file was → the node that its readers read now.
        rounded: Value → what its first quantizer makes of it.
    """

    network: Network
    origin: Origin
    model: ir.Model
    integer_clip: bool = True
    prints: dict[str, Footprint] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    refs: dict[ir.Value, str] = field(default_factory=dict)
    homes: dict[str, ir.Value] = field(default_factory=dict)
    values: dict[fx.Node, ir.Value] = field(default_factory=dict)
    grids: dict[ir.Value, Grid] = field(default_factory=dict)
    folded: set[ir.Value] = field(default_factory=set)
    wishes: list[Wish] = field(default_factory=list)
    parameters: dict[str, tuple[ir.Value, ir.Value]] = field(default_factory=dict)
    computed: set[fx.Node] = field(default_factory=set)
    constants: dict[fx.Node, Tensor | None] = field(default_factory=dict)
    heirs: dict[str, fx.Node] = field(default_factory=dict)
    rounded: dict[ir.Value, ir.Value] = field(default_factory=dict)

    @property
    def graph(self) -> ir.Graph:
        """The graph that is edited."""
        return self.model.graph

    def wish(self, name: str, *values: tuple[ir.Value, str]) -> None:
        """Ask for a name for new values."""
        self.wishes.append(Wish(name, values))

    def insert_behind(self, value: ir.Value, nodes: Sequence[ir.Node]) -> None:
        """Insert nodes right behind the one that computes a value."""
        producer = value.producer()
        if producer is not None:
            self.graph.insert_after(producer, nodes)
        elif len(self.graph):
            self.graph.insert_before(self.graph[0], nodes)
        else:
            self.graph.extend(nodes)


def stored(array: np.ndarray) -> ir.Value:
    """A new stored value; it has no name yet."""
    return ir.val(None, const_value=ir.tensor(array))
