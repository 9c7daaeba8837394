"""Translates between ONNX, NumPy and PyTorch types."""

import numpy as np
import onnx_ir as ir
import torch

TORCH = {
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.DOUBLE: torch.float64,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
    ir.DataType.INT8: torch.int8,
    ir.DataType.INT16: torch.int16,
    ir.DataType.INT32: torch.int32,
    ir.DataType.INT64: torch.int64,
    ir.DataType.UINT8: torch.uint8,
    ir.DataType.UINT16: torch.uint16,
    ir.DataType.UINT32: torch.uint32,
    ir.DataType.UINT64: torch.uint64,
    ir.DataType.BOOL: torch.bool,
}
#: Integers that only quantized files store.
NARROW = frozenset({ir.DataType.INT4, ir.DataType.UINT4})


def torch_dtype(number: int) -> torch.dtype | None:
    """The PyTorch type of an ONNX type number, or None if there is none."""
    try:
        return TORCH.get(ir.DataType(number))
    except ValueError:
        return None


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """Convert a small tensor to an array."""
    return tensor.detach().cpu().numpy()
