"""Ops that the exporter has no translation of, since its decompositions leave none of them."""

from typing import Any

import numpy as np
import onnx_ir as ir
import onnxscript
import torch

_onnx: Any = onnxscript.opset21


def _batch_norm(
    x: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    training: bool,
    _momentum: float,
    epsilon: float,
    _cudnn: bool,
) -> Any:
    if training or mean is None:
        raise TypeError("the norm uses the statistics of the batch")
    weight = _filled(1.0, mean) if weight is None else weight
    bias = _filled(0.0, mean) if bias is None else bias
    return _onnx.BatchNormalization(x, weight, bias, mean, variance, epsilon=epsilon)


def _filled(number: float, like: Any) -> Any:
    array = np.full(like.shape[0], number, like.dtype.numpy())
    return _onnx.Constant(value=ir.tensor(array))


def _numel(x: Any) -> Any:
    return _onnx.Size(x)


TRANSLATIONS: dict[Any, Any] = {
    torch.ops.aten.batch_norm.default: _batch_norm,
    torch.ops.aten.sym_numel.default: _numel,
}
