"""How weights are stored in a file: the ONNX type, and the number of bits that are used of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from tersor.core.grid import Grid
from tersor.errors import InvalidInputError
from tersor.export.onnx.tidy import WEIGHTED, stored_weight

_NARROW = 4  # bits
_INT4 = {True: ir.DataType.INT4, False: ir.DataType.UINT4}


@dataclass(frozen=True)
class Written:
    """A network as a file that is not finished.

    Attributes:
        model: The file.
        grids: Names of the integers that it stores → their grids.
        folded: Names of those that no kernel computes with: they become floats before.
        anew: Why it is a new file, though one came in; empty if that was edited.
    """

    model: ir.Model
    grids: Mapping[str, Grid]
    folded: Collection[str]
    anew: str = ""


@dataclass(frozen=True)
class StoredWeights:
    """Layers whose weights are stored in the same way.

    Attributes:
        container: The ONNX type: INT8, INT4, FLOAT.
        bits: Bits of it that a weight uses.
        layers: Number of convolution and linear layers.
        share: Their share of all layers.
        bytes: Size of their weights.
    """

    container: str
    bits: int
    layers: int
    share: float
    bytes: int

    @property
    def is_int4(self) -> bool:
        """Whether two weights share a byte."""
        return self.container in {kind.name for kind in _INT4.values()}

    def __str__(self) -> str:
        """One line of text."""
        weights = f"{self.bits}-bit weights in {self.container}"
        layers = "1 layer" if self.layers == 1 else f"{self.layers} layers"
        return f"{layers} ({self.share:.0%}) with {weights}, {self.bytes / 1e6:.2f} MB"


def store_int4(graph: ir.Graph, grids: Mapping[str, Grid]) -> None:
    """Store integers of up to 4 bits two to a byte, with their zero points.

    Tables that are looked up as integers stay unchanged, since runtimes gather no 4-bit rows.

    Args:
        graph: Changed in place.
        grids: Names of integer initializers → their grids.

    Raises:
        InvalidInputError: No integers have up to 4 bits.
    """
    if not any(grid.bits <= _NARROW for grid in grids.values()):
        raise InvalidInputError(
            'storage="int4" has no effect: no weights have 4 bits or fewer. Quantize with '
            "weights=4, on the command line --weights 4, or leave it out"
        )
    for name, grid in grids.items():
        value = graph.initializers.get(name)
        readers = [] if value is None else list(value.consumers())
        if (
            value is None
            or grid.bits > _NARROW
            or any(r.op_type != "DequantizeLinear" for r in readers)
        ):
            continue
        zero_points = [r.inputs[2] for r in readers if len(r.inputs) > 2 and r.inputs[2]]
        for stored in {value, *zero_points}:
            _narrow(stored, _INT4[grid.signed])


def _narrow(stored: ir.Value, dtype: ir.DataType) -> None:
    assert stored.const_value is not None
    array = stored.const_value.numpy().astype(dtype.numpy())
    stored.const_value = ir.Tensor(array, dtype=dtype, name=stored.name)
    stored.dtype = dtype


def stored_weights(graph: ir.Graph, grids: Mapping[str, Grid]) -> tuple[StoredWeights, ...]:
    """Find how the weights of all layers are stored, the most frequent way first.

    Args:
        graph: A graph whose initializers are final.
        grids: Names of integer initializers → their grids.
    """
    layers: dict[tuple[str, int], list[ir.Value]] = {}
    for node in graph:
        weight = stored_weight(node, WEIGHTED[node.op_type]) if node.op_type in WEIGHTED else None
        if weight is not None and weight.const_value is not None:
            dtype, grid = weight.const_value.dtype, grids.get(str(weight.name))
            bits = round(8 * dtype.itemsize) if grid is None else grid.bits
            layers.setdefault((dtype.name, bits), []).append(weight)
    total = sum(map(len, layers.values()))
    found = [
        StoredWeights(container, bits, len(weights), len(weights) / total, _bytes(weights))
        for (container, bits), weights in layers.items()
    ]
    return tuple(sorted(found, key=lambda stored: -stored.layers))


def _bytes(weights: list[ir.Value]) -> int:
    """Count bytes; a weight that several layers share is stored once."""
    return sum(value.const_value.nbytes for value in {*weights} if value.const_value is not None)
