"""y = s_x s_w Σ (q − z) w + b: a convolution of what was rounded to 8 bits, in integers.

The sums are exact, so this is what the convolution of the rounded values would be without rounding
errors of its own. Many processors take a third of the time for it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core import integer_kernels
from tersor.core.codes import Codes

onednn = torch.ops.onednn
_PACK, _CONVOLVE = "qconv_prepack", "qconv2d_pointwise"


@dataclass(frozen=True)
class Setting:
    """How a kernel moves over a picture.

    Attributes:
        stride: Of both axes.
        padding: Zeros on either side of both axes.
        dilation: Of both axes.
        groups: Number of groups.
    """

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int


class IntegerConvolution:
    """A 2-d convolution whose weights are integers."""

    def __init__(self, weight: Codes, bias: Float[Tensor, " out"] | None, setting: Setting) -> None:
        """Keep what does not depend on the input.

        Args:
            weight: `[out, in / groups, height, width]`, signed, with a zero point of 0 and one
                scale, or one for each output.
            bias: b.
            setting: How the kernel moves.
        """
        self._weight, self._bias, self._setting = weight, bias, setting
        self._scale = weight.scale.float().expand(len(weight.integers)).contiguous()
        self._packed: dict[tuple[float, int], Tensor] = {}

    def __call__(self, x: Codes) -> Float[Tensor, "batch out height width"]:
        """The output; its channels lie next to each other in memory.

        Args:
            x: The input, see `fits`.
        """
        at, setting = (float(x.scale), int(x.zero_point)), self._setting
        moves = (setting.stride, setting.padding, setting.dilation, setting.groups)
        if at not in self._packed:
            integers = self._weight.integers
            self._packed[at] = onednn.qconv_prepack(integers, self._scale, *at, *moves)
        given = x.integers.contiguous(memory_format=torch.channels_last)
        zeros = torch.zeros(len(self._scale), dtype=torch.int64)
        weights = self._packed[at], self._scale, zeros, self._bias
        return onednn.qconv2d_pointwise(
            given, *at, *weights, *moves, 1.0, 0, torch.float32, "none", [], ""
        )


def fits(x: Codes) -> bool:
    """Whether an input can be convolved as integers, and is so in less time.

    Args:
        x: The input.
    """
    is_plain = x.axis is None and x.dtype == torch.float32 and x.integers.ndim == 4
    is_byte = x.integers.dtype == torch.uint8 and x.integers.device.type == "cpu"
    has_kernels = hasattr(onednn, _PACK) and hasattr(onednn, _CONVOLVE)
    return is_plain and is_byte and has_kernels and integer_kernels.are_fast()
