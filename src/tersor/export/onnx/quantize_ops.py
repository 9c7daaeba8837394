"""ONNX QuantizeLinear and DequantizeLinear as PyTorch ops, which replace quantizers for export.

`torch.onnx.export` translates each into the ONNX op of the same name. Results are contiguous,
because it gives attention another memory layout than `torch.export` does, and views of the result
must stay possible.
"""

from typing import Any

import onnxscript
import torch
from torch import Tensor

from tersor.core.affine import dequantize, quantize
from tersor.core.grid import Grid

_onnx: Any = onnxscript.opset21


@torch.library.custom_op("tersor::quantize_linear", mutates_args=())
def quantize_linear(x: Tensor, scale: Tensor, zero_point: Tensor, axis: int | None) -> Tensor:
    """Integers of `x` in the dtype of `zero_point`, clamped to that dtype."""
    limits = torch.iinfo(zero_point.dtype)
    grid = Grid(limits.bits, signed=limits.min < 0)
    return quantize(x, scale, zero_point, grid, axis).to(zero_point.dtype).contiguous()


@quantize_linear.register_fake
def _(x: Tensor, scale: Tensor, zero_point: Tensor, axis: int | None) -> Tensor:
    del scale, axis
    return x.new_empty(x.shape, dtype=zero_point.dtype)


@torch.library.custom_op("tersor::dequantize_linear", mutates_args=())
def dequantize_linear(
    q: Tensor, scale: Tensor, zero_point: Tensor | None, axis: int | None
) -> Tensor:
    """Real values of the integers `q`, in the dtype of `scale`; no zero point means 0."""
    zero_point = torch.zeros_like(scale) if zero_point is None else zero_point
    return dequantize(q.to(scale.dtype), scale, zero_point, axis).contiguous()


@dequantize_linear.register_fake
def _(q: Tensor, scale: Tensor, zero_point: Tensor | None, axis: int | None) -> Tensor:
    del zero_point, axis
    return q.new_empty(q.shape, dtype=scale.dtype)


def _axis(axis: int | None) -> dict[str, int]:
    return {} if axis is None else {"axis": axis}


def _quantize_to_onnx(x: Any, scale: Any, zero_point: Any, axis: int | None = None) -> Any:
    return _onnx.QuantizeLinear(x, scale, zero_point, **_axis(axis))


def _dequantize_to_onnx(q: Any, scale: Any, zero_point: Any = None, axis: int | None = None) -> Any:
    return _onnx.DequantizeLinear(q, scale, zero_point, **_axis(axis))


TRANSLATIONS: dict[Any, Any] = {
    torch.ops.tersor.quantize_linear.default: _quantize_to_onnx,
    torch.ops.tersor.dequantize_linear.default: _dequantize_to_onnx,
}
