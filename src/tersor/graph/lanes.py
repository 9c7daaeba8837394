"""Which two weights of a layer meet in one lane of onnxruntime's u8×s8 kernels without VNNI.

Measured with the kernels themselves, for convolutions of one to three dimensions, strided, dilated
and grouped, and for Gemm and MatMul, with odd numbers of channels too: a row of the weight is laid
out with the channels last, and weights 2i and 2i + 1 of the row meet, across kernel taps as well.
The last of an odd number meets none. Depthwise kernels have wide accumulators, unless one input
channel has several outputs.
"""

from math import prod

from tersor.core.pairs import Partners, lane_partners
from tersor.graph.layers import Layer


def partners(layer: Layer) -> Partners | None:
    """The partner of every column of the flattened grouped weight; None if products never meet.

    Args:
        layer: A layer with a stored weight.
    """
    if adds_no_pairs(layer):
        return None
    _, _, inputs, *kernel = layer.grouped_weight().shape
    return lane_partners(inputs, prod(kernel)).to(layer.weight.device)


def adds_no_pairs(layer: Layer) -> bool:
    """A depthwise layer with one output per input: its kernel has wide accumulators."""
    return layer.grouped_weight().shape[1:3] == (1, 1) and layer.groups > 1
