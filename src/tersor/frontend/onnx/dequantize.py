"""Converts a quantized file back to a float network, which computes the same without rounding.

A QDQ file reads stored integers through DequantizeLinear, D, and rounds activations by
QuantizeLinear, Q, and D:

    D(q) = (q − z) s      stored integers become float weights
    q s                   so do those that Cast and Mul make floats
    D(f(Q(x))) → f(x)     if f does nothing, or only moves and selects integers
    D(Q(x)) → clip(x, 0, s (q_max − z))   if the range begins at 0 and x may be negative

The last stands for an activation function that the file's writer left to the range of its
quantizer.
"""

from dataclasses import replace

import numpy as np

from tersor.frontend.onnx.file_contents import Contents
from tersor.frontend.onnx.integers import MOVES, find_integers
from tersor.frontend.onnx.node import Node
from tersor.frontend.onnx.node_grid import Grid, grid_of, unfit
from tersor.frontend.onnx.scaled import scaled_weights
from tersor.frontend.onnx.signs import is_never_negative

#: Positions of the integers that an op compares with or fills with.
_COMPARED = {"Clip": (1, 2), "Pad": (2,)}


def dequantize(contents: Contents) -> Contents:
    """Remove QuantizeLinear and DequantizeLinear from the contents of a file.

    Weights keep the names of their integers. Inputs and outputs that were integers become floats.

    Args:
        contents: The contents of a file; those of a float file stay the same.

    Raises:
        InvalidModelError: A node computes on integers, or scales are missing or do not fit.
    """
    restored = _Restored(contents)
    for node in contents.nodes:
        restored.add(node)
    return restored.contents()


class _Restored:
    """The float network under construction.

    Attributes:
        file: The contents of the file.
        integers: Which of its values are integers.
        constants: Stored values, now floats.
        nodes: Nodes, which now compute on floats.
        real: Name of a value written by a Q or D → the name of its float counterpart.
        positive: Names of values that are never negative.
        taken: Names that new values must not have.
        known: Names of the nodes that computed a weight, which are not needed any more.
    """

    def __init__(self, file: Contents) -> None:
        self.file = file
        self.integers = find_integers(file)
        self.inputs = {x.name: x for x in file.inputs}
        self.constants = dict(file.constants)
        self.nodes: list[Node] = []
        self.real: dict[str, str] = {}
        self.positive: set[str] = set()
        self.taken = {name for node in file.nodes for name in node.outputs}
        self.taken |= {*file.constants, *self.inputs}
        for name, grid in self.integers.grids.items():
            if name in file.constants:
                self.constants[name] = grid.values(file.constants[name])
            elif name in self.inputs:
                self.inputs[name] = replace(self.inputs[name], dtype=grid.number_type)
        self.known: set[str] = set()
        for weight in scaled_weights(file):
            self.constants[weight.integers] = weight.values
            self.real[weight.floats] = weight.integers
            self.known.update(weight.nodes)

    def add(self, node: Node) -> None:
        """Add the next node of the file."""
        if node.op == "QuantizeLinear":
            self._quantize(node)
        elif node.op == "DequantizeLinear":
            self._dequantize(node)
        elif node.name not in self.known:
            self._compute(node)

    def contents(self) -> Contents:
        """The float network."""
        for name in self.file.outputs:
            if self._float(name) != name:
                self.nodes.append(Node("Identity", name, (self._float(name),), (name,)))
        read = {name for node in self.nodes for name in node.inputs} | {*self.file.outputs}
        constants = {name: value for name, value in self.constants.items() if name in read}
        inputs = tuple(self.inputs.values())
        return Contents(
            inputs, self.file.outputs, constants, tuple(self.nodes), None, self.file.changes
        )

    def _float(self, name: str) -> str:
        return self.real.get(name, name)

    def _quantize(self, node: Node) -> None:
        source, result = self._float(node.inputs[0]), node.outputs[0]
        grid = self.integers.grids[result]
        self.real[result] = source
        if not grid.begins_at_zero or self._is_never_negative(source):
            return
        if self.integers.origin.get(source, source) not in self.inputs:
            ends = (grid.values(np.array(end)) for end in grid.ends)
            names = (self._store(f"{result}.clip", end) for end in ends)
            clip = Node("Clip", node.name, (source, *names), (result,), opset=node.opset)
            self.nodes.append(clip)
            self.real[result] = result
        self.positive.add(self.real[result])

    def _dequantize(self, node: Node) -> None:
        source, result = node.inputs[0], node.outputs[0]
        grid, written = grid_of(node, self.file.constants), self.integers.grid(source)
        assert written is not None
        self.real[result] = self._float(source)
        if grid.scale.ndim and source in self.integers.origin:
            raise unfit(node, f"reads {source!r}, which was moved and has one scale per channel")
        if written.same(grid):
            return
        if source not in self.file.constants:
            raise unfit(node, f"reads {source!r} with another scale than it was written with")
        self.real[result] = self._store(result, grid.values(self.file.constants[source]))

    def _compute(self, node: Node) -> None:
        """Add any other node; one that moves integers now moves the numbers that they stand for."""
        grid = self.integers.grid(node.inputs[0]) if node.inputs else None
        if grid is not None:
            node = self._with_numbers(node, grid)
        for position, name in enumerate(node.inputs):
            if self.integers.grid(name) and (node.op not in MOVES or position > 0):
                raise unfit(node, f"computes on the integers {name!r}")
        node = replace(node, inputs=tuple(map(self._float, node.inputs)))
        self.nodes.append(node)
        if is_never_negative(node, self._is_never_negative):
            self.positive.update(node.outputs)

    def _with_numbers(self, node: Node, grid: Grid) -> Node:
        """Replace the stored integers of a node by the numbers that they stand for."""
        inputs = list(node.inputs)
        for position in _COMPARED.get(node.op, ()):
            name = inputs[position] if position < len(inputs) else ""
            integers = self.file.constants.get(name)
            if node.op == "Pad" and not name:  # it fills with integer zeros
                inputs[position : position + 1] = [""]
                integers = np.zeros((), np.int32)
            if integers is not None:
                inputs[position] = self._store(f"{node.name}.{position}", grid.values(integers))
        op = "Identity" if node.op == "Cast" else node.op
        return replace(node, op=op, inputs=tuple(inputs))

    def _is_never_negative(self, name: str) -> bool:
        value = self.constants.get(name)
        return name in self.positive if value is None else bool((value >= 0).all())

    def _store(self, name: str, value: np.ndarray) -> str:
        """Store a value under this name, or under a similar one that is free."""
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        self.constants[name] = value
        return name
