"""A `Scheme` describes one target runtime: what it computes in integers, and in which format.

Placement, simulation and the ONNX writer all read it, so what is simulated is what runs.
The schemes themselves are the table in `tersor.quant.schemes`.
"""

from dataclasses import dataclass, replace
from operator import attrgetter

import torch
from torch._ops import OpOverload

from tersor.checked import checked
from tersor.core.grid import Grid
from tersor.errors import InvalidInputError
from tersor.graph.lanes import Pairs
from tersor.graph.ops import CONVOLUTIONS, LINEAR, MATMULS, MOVEMENT, PADS
from tersor.names import RuntimeName
from tersor.quant.speed import Speed

aten = torch.ops.aten

# Layers: the ops with a stored weight that have an integer kernel.
KERNELS = frozenset(CONVOLUTIONS | LINEAR)
# Reads and writes integers, with a scale of its own for the result.
INTEGER_OPS = frozenset(
    {
        aten.add.Tensor,
        aten.mul.Tensor,
        aten.cat.default,
        aten.avg_pool1d.default,
        aten.avg_pool2d.default,
        aten.adaptive_avg_pool1d.default,
        aten.adaptive_avg_pool2d.default,
        aten.mean.dim,
        aten.leaky_relu.default,
        aten.sigmoid.default,
    }
)
# Moves integers, selects among them, or adds zeros: the result is on the grid of the input.
PASS_THROUGH = frozenset(MOVEMENT - {aten.cat.default, aten.stack.default}) | {
    aten.max_pool1d.default,
    aten.max_pool2d.default,
    aten.amax.default,
    aten.upsample_nearest1d.vec,
    aten.upsample_nearest2d.vec,
    *PADS,
}
# Computed by the integer kernel of the op before it: clipping is what its output stage does.
FUSED = frozenset(
    {aten.relu.default, aten.relu6.default, aten.hardtanh.default, aten.clamp.default}
)
# A layer's kernel that dequantizes its own result: rounding it would only lose accuracy.
FLOAT_OUTPUTS = frozenset(LINEAR)

INT8 = Grid(8, signed=True, symmetric=True)
INT16 = Grid(16, signed=True, symmetric=True)
UINT8 = Grid(8)
WIDE = 8  # bits of what has few bits nowhere in papers
_BITS = (2, 16)  # narrowest and widest


@checked()
@dataclass(frozen=True)
class FewBits:
    """Bits of the layers between the first and the last; see `tersor.quant.placement.few_bits`.

    Attributes:
        activations: Bits of what these layers read, below 8.
        weights: Bits of their weights, below 8; None for those of the scheme.
    """

    activations: int
    weights: int | None = None


@checked()
@dataclass(frozen=True)
class Scheme:
    """The integer format of one target runtime.

    Attributes:
        name: The name that users type.
        summary: One sentence for tables and `--help`.
        weight: Grid of the weights.
        per_channel: One weight scale per output channel instead of one per layer.
        pair_safe: No pair of u8×s8 products may overflow 16 bits. Which two weights meet in the
            kernels: see `tersor.graph.lanes`. None if their sums are wide enough.
        activation: Grid of the activations.
        by_row: Each row that a layer reads has a range of its own, which is found when it is there;
            nothing else is rounded.
        kernels: Weighted ATen ops that have an integer kernel; others stay in float.
        integer_ops: ATen ops, other than convolution and linear, that have integer kernels.
        lookups: Whether embedding tables are stored as integers.
        matmuls: ATen ops that multiply two activations in integers.
        float_outputs: Integer kernels of layers that can also write floating point.
        pass_through: ATen ops that keep the scale of their input.
        fused: Activations that an integer kernel computes before it rounds its output.
        any_clip: Whether a clip is fused whatever its bounds are, and not only if it ends at 0.
        fused_add: Whether a layer adds a residual to its accumulator, before anything is rounded.
        integer_bias: Whether biases are rounded to the grid of the accumulator, and stored as
            int32.
        integer_clip: Whether a clip moves behind its QuantizeLinear, onto the integers. Other
            runtimes look for the clip directly after the layer.
        cast_weights: Whether layers in float read stored integers by Cast and Mul, which the
            runtime computes when it loads a file. Others know integers by DequantizeLinear only;
            there, of the layers in float only recurrent ones store integers.
        runtime: The runtime that verifies the files: see `tersor.export.serving`. For
            a target that cannot be run here, onnxruntime at least shows whether the file is right.
        session: onnxruntime session options that the format needs to be exact.
        speed: The times of its kernels: calls that integers make slower stay in floating point.
            None computes in integers whatever has an integer kernel.
        few: Fewer bits for the layers between the first and the last.
    """

    name: str
    summary: str
    weight: Grid = INT8
    per_channel: bool = True
    pair_safe: Pairs | None = None
    activation: Grid = UINT8
    by_row: bool = False
    kernels: frozenset[object] = KERNELS
    integer_ops: frozenset[object] = INTEGER_OPS
    lookups: bool = True
    matmuls: frozenset[object] = frozenset(MATMULS)
    float_outputs: frozenset[object] = FLOAT_OUTPUTS
    pass_through: frozenset[object] = PASS_THROUGH
    fused: frozenset[object] = FUSED
    any_clip: bool = False
    fused_add: bool = False
    integer_bias: bool = True
    integer_clip: bool = True
    cast_weights: bool = True
    runtime: RuntimeName = "onnxruntime"
    session: tuple[tuple[str, str], ...] = ()
    speed: Speed | None = None
    few: FewBits | None = None

    @property
    def computes_integers(self) -> bool:
        """Whether layers compute in integers; otherwise only their weights are stored so."""
        return bool(self.kernels)

    def with_bits(self, weights: int | None, activations: int | None) -> "Scheme":
        """The same scheme with other bit widths; None keeps a width.

        Activations of fewer than 8 bits are the inputs of the layers between the first and the
        last, and everything else has 8 bits: see `tersor.quant.placement.few_bits`.

        Raises:
            InvalidInputError: A width is not between 2 and 16 bits.
        """
        weight = with_bits(self.weight, weights, "weights")
        activation = with_bits(self.activation, activations, "activations")
        if activations is not None and activations < WIDE:
            few = FewBits(activations, weights if weight.bits < WIDE else None)
            wide = self.with_bits(max(weight.bits, WIDE), WIDE)
            return replace(wide, few=few, speed=None)
        pair_safe = self.pair_safe if weight.bits == 8 else None
        speed = self.speed if weights is None else None  # whoever asks for bits wants every layer
        few = self.few if activations is None else None
        return replace(
            self,
            weight=weight,
            activation=activation,
            pair_safe=pair_safe,
            speed=speed,
            few=few,
        )

    def __getstate__(self) -> dict[str, object]:
        """For pickles and copies, in which ops stand as their names."""
        return {name: _names(value) for name, value in vars(self).items()}

    def __setstate__(self, state: dict[str, object]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, _ops(value))


def _names(value: object) -> object:
    if not isinstance(value, frozenset):
        return value
    return frozenset(str(op) if isinstance(op, OpOverload) else op for op in value)


def _ops(value: object) -> object:
    if not isinstance(value, frozenset):
        return value
    return frozenset(attrgetter(op)(torch.ops) if isinstance(op, str) else op for op in value)


def with_bits(grid: Grid, bits: int | None, what: str) -> Grid:
    """A grid of another bit width; None keeps its own.

    Args:
        grid: The grid.
        bits: From 2 to 16.
        what: Name of the option, for the message.

    Raises:
        InvalidInputError: The width is not a whole number, or out of bounds.
    """
    if bits is None:
        return grid
    if not isinstance(bits, int) or not _BITS[0] <= bits <= _BITS[1]:
        raise InvalidInputError(f"{what}={bits!r} bits; choose a width from 2 to 16, in whole bits")
    return replace(grid, bits=bits)
