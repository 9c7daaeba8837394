"""Gives new values of a graph names that no other value has."""

import numpy as np
import onnx_ir as ir

from tersor.frontend.onnx.branches import values_of


class FreeNames:
    """The names of a graph, which are looked up once, however many values are added.

    Attributes:
        graph: The graph.
    """

    def __init__(self, graph: ir.Graph) -> None:
        """Look up the names of all values of a graph and of its sub-graphs."""
        self.graph = graph
        self._taken = {value.name for value in values_of(graph)}
        self._last: dict[str, int] = {}  # number of the last name that was like this one

    def take(self, name: str) -> str:
        """This name, or a similar one that nothing has; it is not given again.

        Args:
            name: The name.
        """
        free, number = name, self._last.get(name, 1)
        while free in self._taken:
            number += 1
            free = f"{name}_{number}"
        self._last[name] = number
        self._taken.add(free)
        return free

    def store(self, array: np.ndarray, name: str) -> ir.Value:
        """Store an array in the graph.

        Args:
            array: The array.
            name: Its name, unless it is taken.
        """
        name = self.take(name)
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        self.graph.register_initializer(value)
        return value

    def remove(self, name: str) -> None:
        """Remove a stored value, whose name is free then.

        Args:
            name: Its name.
        """
        del self.graph.initializers[name]
        self._taken.discard(name)
