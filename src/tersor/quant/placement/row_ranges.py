"""Rounds what layers read row by row: no range is chosen beforehand, and no samples are needed.

Layers alone read the rounded rows. Whatever else reads the value computes in floating point.
"""

from collections import defaultdict
from collections.abc import Collection

from jaxtyping import Float
from torch import Tensor, fx, nn

from tersor.core.grid import Grid
from tersor.core.rows import fake_quantize_rows
from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer
from tersor.graph.network import Network, free_name
from tersor.graph.nodes import set_argument
from tersor.quant.scheme import Scheme


class RowQuantize(nn.Module):
    """Rounds each row of a value to the grid that spans it; gradients pass as if it did not.

    Attributes:
        grid: The integer grid.
    """

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Round to the nearest value on the grid of the row."""
        value = fake_quantize_rows(x.detach(), self.grid)
        return x + (value - x).detach() if x.requires_grad else value

    def extra_repr(self) -> str:
        """Shown in `print(module)`."""
        return str(self.grid)


def round_rows(network: Network, layers: Collection[Layer], grid: Grid) -> None:
    """Round the inputs of layers row by row.

    Args:
        network: Edited in place.
        layers: The layers. Those that read the same value share its rounded rows.
        grid: The grid of each row.
    """
    readers: dict[fx.Node, list[Layer]] = defaultdict(list)
    for layer in layers:
        readers[layer.input].append(layer)
    for value, reading in readers.items():
        name = free_name(network.module, f"quantizers.{value.name}_rows")
        network.module.add_submodule(name, RowQuantize(grid))
        with network.graph.inserting_after(value):
            rounded = network.graph.call_module(name, (value,))
        rounded.meta = dict(value.meta)
        for layer in reading:
            set_argument(layer.node, "input", rounded)


def check_rows(scheme: Scheme, named: Collection[object]) -> None:
    """Refuse other widths of rows than the scheme's own.

    Args:
        scheme: A scheme that rounds rows.
        named: The layers whose activations have bits of their own.

    Raises:
        InvalidInputError: Bits of activations were given.
    """
    if named or scheme.few or scheme.activation.bits != _BITS:
        raise InvalidInputError(
            f"{scheme.name} rounds each row that a layer reads to {_BITS} bits, and its kernels "
            "know no other width; leave activations= (--activations) out"
        )


_BITS = 8
