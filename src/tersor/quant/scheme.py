"""A `Scheme` describes one target runtime: what it computes in integers, and in which format.

Placement, simulation and the ONNX writer all read it, so that what is simulated is what runs.
Adding a runtime is writing one more `Scheme` here.
"""

import operator
from dataclasses import dataclass, replace

import torch

from tersor.core.grid import Grid
from tersor.errors import InvalidInputError

aten = torch.ops.aten

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
        aten.softmax.int,
    }
)
# Multiplies two activations, in integers if both are; the result may be integers or floats.
MATMULS = frozenset({aten.matmul.default, aten.bmm.default})
# Moves integers, selects among them, or adds zeros: the result is on the grid of the input.
PASS_THROUGH = frozenset(
    {
        aten.max_pool1d.default,
        aten.max_pool2d.default,
        aten.amax.default,
        aten.reshape.default,
        aten.flatten.using_ints,
        aten.unflatten.int,
        aten.permute.default,
        aten.transpose.int,
        aten.t.default,
        aten.squeeze.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
        aten.unsqueeze.default,
        aten.expand.default,
        aten.slice.Tensor,
        aten.select.int,
        aten.chunk.default,
        aten.split.Tensor,
        aten.split_with_sizes.default,
        aten.unbind.int,
        aten.upsample_nearest1d.vec,
        aten.upsample_nearest2d.vec,
        aten.pixel_shuffle.default,
        aten.channel_shuffle.default,
        aten.pad.default,
        aten.constant_pad_nd.default,
        operator.getitem,
    }
)
# Computed by the integer kernel of the op before it: clipping is what its output stage does.
FUSED = frozenset(
    {aten.relu.default, aten.relu6.default, aten.hardtanh.default, aten.clamp.default}
)
# A layer's kernel that dequantizes its result by itself: rounding it would only lose accuracy.
FLOAT_OUTPUTS = frozenset({aten.linear.default})

INT8 = Grid(8, signed=True, symmetric=True)
UINT8 = Grid(8)


@dataclass(frozen=True)
class Scheme:
    """The integer format of one target runtime.

    Attributes:
        name: What a user types.
        summary: One sentence for tables and `--help`.
        weight: Grid of the weights.
        per_channel: One weight scale per output channel instead of one per layer.
        pair_safe: Choose weight ranges such that no pair of u8×s8 products overflows 16 bits.
        activation: Grid of the activations.
        integer_ops: ATen ops, beside convolution and linear, that have integer kernels.
        matmuls: ATen ops that multiply two activations in integers.
        float_outputs: Integer kernels of layers that can also write floating point.
        pass_through: ATen ops that keep the scale of their input.
        fused: Activations that an integer kernel computes on its way out.
        session: onnxruntime session options that the format needs to be exact.
    """

    name: str
    summary: str
    weight: Grid = INT8
    per_channel: bool = True
    pair_safe: bool = False
    activation: Grid = UINT8
    integer_ops: frozenset[object] = INTEGER_OPS
    matmuls: frozenset[object] = MATMULS
    float_outputs: frozenset[object] = FLOAT_OUTPUTS
    pass_through: frozenset[object] = PASS_THROUGH
    fused: frozenset[object] = FUSED
    session: tuple[tuple[str, str], ...] = ()

    def with_bits(self, weights: int | None, activations: int | None) -> "Scheme":
        """The same scheme with other widths; None keeps one."""
        weight = replace(self.weight, bits=self.weight.bits if weights is None else weights)
        bits = self.activation.bits if activations is None else activations
        return replace(
            self,
            weight=weight,
            activation=replace(self.activation, bits=bits),
            pair_safe=self.pair_safe and weight.bits == 8,
        )


ONNXRUNTIME_CPU = Scheme(
    "onnxruntime-cpu",
    "uint8 activations, int8 weights per channel; exact on every CPU, with or without VNNI",
    pair_safe=True,
)
ONNXRUNTIME_VNNI = Scheme(
    "onnxruntime-vnni",
    "the same with the full weight range; saturates on x86 CPUs without VNNI",
)
DFQ_PAPER = Scheme(
    "dfq-paper",
    "one scale per layer, as in the DFQ paper; exact with session.x64quantprecision=1",
    per_channel=False,
    session=(("session.x64quantprecision", "1"),),
)
SCHEMES = {s.name: s for s in (ONNXRUNTIME_CPU, ONNXRUNTIME_VNNI, DFQ_PAPER)}


def find_scheme(scheme: "str | Scheme") -> Scheme:
    """A scheme by its name; a `Scheme` stands for itself.

    Raises:
        InvalidInputError: No scheme has this name.
    """
    if isinstance(scheme, Scheme):
        return scheme
    if scheme not in SCHEMES:
        raise InvalidInputError(f"unknown scheme {scheme!r}; choose one of {', '.join(SCHEMES)}")
    return SCHEMES[scheme]
