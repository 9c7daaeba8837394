"""Ops that make values from attributes and known sizes."""

import numpy as np
import torch
from torch import Tensor

from tersor.frontend.onnx.dtypes import torch_dtype
from tersor.frontend.onnx.node import Node, Op


def _constant_of_shape(node: Node, shape: np.ndarray) -> Tensor:
    value = node.get("value")
    value = np.zeros(1, np.float32) if value is None else value
    filler = torch.from_numpy(np.array(value)).reshape(-1)
    return torch.full(shape.tolist(), filler[0].item(), dtype=filler.dtype)


def _range(_: Node, start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> Tensor:
    ends = [value.ravel()[0] for value in (start, limit, delta)]
    kinds = [v.dtype for v in (start, limit, delta) if v.dtype != object]
    dtype = torch.from_numpy(np.empty(0, kinds[0])).dtype if kinds else torch.int64
    plain = [end.item() if isinstance(end, np.generic) else end for end in ends]
    return torch.arange(*plain, dtype=dtype)


def _eye_like(node: Node, x: Tensor) -> Tensor:
    number = node.get("dtype")
    dtype = x.dtype if number is None else torch_dtype(number)
    offset = node.get("k", 0)
    ones = torch.ones(x.shape, dtype=torch.float64, device=x.device)
    return torch.tril(torch.triu(ones, offset), offset).to(dtype)


OPS = {
    "ConstantOfShape": Op(_constant_of_shape, known=(0,)),
    "Range": Op(_range, known=(0, 1, 2)),
    "EyeLike": Op(_eye_like),
}
