"""The table of schemes: one target runtime each, with its source.

To add a runtime, write one more `Scheme` here, and its description into `tersor.names`.
"""

import torch

from tersor.core.grid import Grid
from tersor.errors import InvalidInputError
from tersor.graph.ops import LINEAR, TRANSPOSED, WEIGHTED
from tersor.names import TARGETS
from tersor.quant.scheme import INT8, INTEGER_OPS, KERNELS, Scheme
from tersor.quant.speed import ONNXRUNTIME

aten = torch.ops.aten

# Measured with the kernels themselves: docs/results/simulation.md.
ONNXRUNTIME_CPU = Scheme(
    "onnxruntime-cpu", TARGETS["onnxruntime-cpu"], pair_safe="rows", speed=ONNXRUNTIME
)
ONNXRUNTIME_VNNI = Scheme("onnxruntime-vnni", TARGETS["onnxruntime-vnni"], speed=ONNXRUNTIME)
# Nothing runs on integers: a smaller file, where integers would make it slower.
ONNXRUNTIME_WEIGHTS = Scheme(
    "onnxruntime-weights",
    TARGETS["onnxruntime-weights"],
    kernels=frozenset(),
    integer_ops=frozenset(),
    matmuls=frozenset(),
    float_outputs=frozenset(),
)
# "On ARM64: U8S8 can be faster than U8U8 for low end ARM64 and no difference on accuracy":
# https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
# Dot products are summed in 32 bits (udot, sdot), so weights have their full range.
ARM_DOTPROD = Scheme("arm-dotprod", TARGETS["arm-dotprod"])
# Measured with OpenVINO's AVX2 kernels, docs/results/runtimes.md: they add pairs of u8×s8 products
# in 16 bits, except for depthwise layers, and a convolution adds the residual before it rounds.
# What has integer kernels:
# https://docs.openvino.ai/2024/documentation/openvino-extensibility/openvino-plugin-library/advanced-guides/low-precision-transformations.html
OPENVINO_CPU = Scheme(
    "openvino-cpu",
    TARGETS["openvino-cpu"],
    pair_safe="channels",
    integer_ops=INTEGER_OPS - {aten.leaky_relu.default, aten.sigmoid.default},
    matmuls=frozenset(),
    float_outputs=KERNELS,
    fused_add=True,
    integer_clip=False,
    cast_weights=False,
    runtime="openvino",
)
# int8 activations per tensor, int8 weights per channel, and the ops that the partitioner takes as
# statically quantized. XNNPACK rounds biases to the grid of the accumulator when it loads a file:
# https://docs.pytorch.org/executorch/stable/backends/xnnpack/xnnpack-quantization.html
# executorch/backends/xnnpack/partition/config/generic_node_configs.py
EXECUTORCH_XNNPACK = Scheme(
    "executorch-xnnpack",
    TARGETS["executorch-xnnpack"],
    activation=Grid(8, signed=True),
    kernels=frozenset({aten.linear.default, aten.conv1d.default, aten.conv2d.default, *TRANSPOSED}),
    integer_ops=frozenset(
        {
            aten.add.Tensor,
            aten.mul.Tensor,
            aten.cat.default,
            aten.mean.dim,
            aten.adaptive_avg_pool2d.default,
        }
    ),
    matmuls=frozenset(),
    float_outputs=frozenset(),
    any_clip=True,
    integer_clip=False,
    cast_weights=False,
    runtime="executorch",
)
# Each row of what a linear layer reads is rounded when it is there. These kernels take weights of 8
# bits, and of 4; what the layer returns, and everything else, is float:
# https://docs.pytorch.org/executorch/stable/backends/xnnpack/xnnpack-quantization.html
EXECUTORCH_DYNAMIC = Scheme(
    "executorch-dynamic",
    TARGETS["executorch-dynamic"],
    activation=Grid(8, signed=True),
    by_row=True,
    kernels=frozenset(LINEAR),
    integer_ops=frozenset(),
    matmuls=frozenset(),
    pass_through=frozenset(),
    fused=frozenset(),
    integer_bias=False,
    integer_clip=False,
    cast_weights=False,
    runtime="executorch",
)
# "TensorRT employs a symmetric quantization scheme, where both activations and weights are mapped
# to quantized values centered around zero"; quantize the inputs of weighted operations, not their
# outputs, and the residual of an add; biases stay in floating point:
# https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html
# https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/quantized-types-explicit-quantization.html
TENSORRT = Scheme(
    "tensorrt",
    TARGETS["tensorrt"],
    activation=INT8,
    kernels=frozenset(WEIGHTED),
    integer_ops=INTEGER_OPS - {aten.leaky_relu.default, aten.sigmoid.default},
    float_outputs=frozenset(WEIGHTED),
    lookups=False,
    fused_add=True,
    integer_bias=False,
    integer_clip=False,
    cast_weights=False,
)
DFQ_PAPER = Scheme(
    "dfq-paper",
    TARGETS["dfq-paper"],
    per_channel=False,
    session=(("session.x64quantprecision", "1"),),
)
SCHEMES = {
    scheme.name: scheme
    for scheme in (
        ONNXRUNTIME_CPU,
        ONNXRUNTIME_VNNI,
        ONNXRUNTIME_WEIGHTS,
        OPENVINO_CPU,
        EXECUTORCH_XNNPACK,
        EXECUTORCH_DYNAMIC,
        ARM_DOTPROD,
        TENSORRT,
        DFQ_PAPER,
    )
}


def find_scheme(scheme: str | Scheme) -> Scheme:
    """Find a scheme by its name; a `Scheme` is returned unchanged.

    Raises:
        InvalidInputError: No scheme has this name.
    """
    if isinstance(scheme, Scheme):
        return scheme
    if scheme not in SCHEMES:
        raise InvalidInputError(f"unknown scheme {scheme!r}; choose from {', '.join(SCHEMES)}")
    return SCHEMES[scheme]
