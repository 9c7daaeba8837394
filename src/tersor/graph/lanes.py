"""Finds the weights of a layer that meet in one lane of the u8×s8 kernels without VNNI.

Measured on the kernels themselves: one pair of large weights after the other, in convolutions of
one to three dimensions, strided, dilated and grouped, in Gemm and in MatMul.

    rows        onnxruntime: a row of the weight is laid out with the channels last, and weights
                2i and 2i + 1 of it meet, across kernel taps too; the last of an odd number is alone
    channels    OpenVINO: input channels 2i and 2i + 1 of one tap meet; where a kernel of several
                taps reads an odd number of them, it depends on the CPU, so any two may meet
    any         any two of a row may meet

Depthwise kernels of both have wide accumulators, unless one input channel has several outputs.
"""

from math import prod
from typing import Literal

from tersor.core.pairs import Partners, lane_partners
from tersor.graph.layers import Layer

Pairs = Literal["rows", "channels", "any"]


def partners(layer: Layer, pairs: Pairs) -> Partners | None:
    """Find the partner of every column of the flattened grouped weight; None if any two may meet.

    Args:
        layer: A layer with a stored weight whose kernel adds pairs.
        pairs: What is known of the kernels.
    """
    _, _, inputs, *kernel = layer.grouped_weight().shape
    taps = prod(kernel)
    is_unknown = pairs == "channels" and inputs % 2 and taps > 1
    if pairs == "any" or is_unknown or layer.is_transposed:
        return None
    return lane_partners(inputs, taps).to(layer.weight.device)


def adds_no_pairs(layer: Layer) -> bool:
    """Whether a layer is depthwise with one output per input: its kernel has wide accumulators."""
    return layer.grouped_weight().shape[1:3] == (1, 1) and layer.groups > 1
