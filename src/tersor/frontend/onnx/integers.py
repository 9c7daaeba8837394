"""Finds the values of a quantized file that are integers standing for numbers."""

from dataclasses import dataclass

from tersor.frontend.onnx.contents import Contents
from tersor.frontend.onnx.grid import Grid, grid_of, unfit

#: Ops that move or select integers in the same way as the numbers that they stand for.
MOVES = frozenset(
    {
        "Identity",
        "Cast",
        "Clip",
        "Pad",
        "MaxPool",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Slice",
        "Split",
        "Gather",
        "GatherElements",
        "GatherND",
        "Expand",
        "Tile",
        "DepthToSpace",
        "SpaceToDepth",
    }
)


@dataclass(frozen=True)
class Integers:
    """The integers of a file.

    Attributes:
        grids: Name of an input, a stored value, or the result of a QuantizeLinear → its grid.
        origin: Name of moved values, integers or not → the value that they came from.
    """

    grids: dict[str, Grid]
    origin: dict[str, str]

    def grid(self, name: str) -> Grid | None:
        """The grid of a value, or None if it is not an integer that stands for a number."""
        return self.grids.get(self.origin.get(name, name))


def find_integers(contents: Contents) -> Integers:
    """Follow every QuantizeLinear and DequantizeLinear to the integers it writes or reads.

    Args:
        contents: The contents of the file.

    Raises:
        InvalidModelError: A scale is not stored, or integers were computed by other ops.
    """
    found = Integers({}, {})
    sources = {*contents.constants, *(x.name for x in contents.inputs)}
    for node in contents.nodes:
        if node.op == "QuantizeLinear":
            found.grids[node.outputs[0]] = grid_of(node, contents.constants)
            sources.add(node.outputs[0])
        elif node.op == "DequantizeLinear":
            source = found.origin.get(node.inputs[0], node.inputs[0])
            if source not in sources:
                raise unfit(node, f"reads {source!r}, which was computed on integers")
            found.grids.setdefault(source, grid_of(node, contents.constants))
        elif node.op in MOVES:
            source = found.origin.get(node.inputs[0], node.inputs[0])
            found.origin.update((name, source) for name in node.outputs if name)
    return found
