"""Ops that make values from attributes and known sizes."""

from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tersor.frontend.onnx.dtypes import torch_dtype
from tersor.frontend.onnx.node import Node, Op

_LONGEST = 1 << 48  # numbers of a range; far fewer are refused by their bytes


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
    _check_length(*plain)
    return torch.arange(*plain, dtype=dtype)


def _check_length(start: Any, limit: Any, step: Any) -> None:
    """Refuse what PyTorch cannot count; it has its own words for ends that are no numbers."""
    is_known = all(isinstance(end, int | float) for end in (start, limit, step))
    if is_known and step and isfinite(limit - start) and (limit - start) / step > _LONGEST:
        raise ValueError(
            f"from {start:g} to {limit:g} in steps of {step:g} it has more numbers than can be "
            "counted; look at these stored values"
        )


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
