"""Ops that pick or place values by index, and those that return indices."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tersor.frontend.onnx.node import Node, Op


def _wrapped(indices: Tensor, size: Any) -> Tensor:
    """Resolve negative indices, which count from the end."""
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + size, indices)


def _gather(node: Node, x: Tensor, indices: Any) -> Tensor:
    axis = node.get("axis", 0) % x.ndim
    if isinstance(indices, int):
        return x.select(axis, indices)
    if axis == 0 and x.ndim == 2 and indices.ndim > 0:
        return F.embedding(_wrapped(indices, x.shape[0]), x)
    flat = _wrapped(indices, x.shape[axis]).reshape(-1)
    picked = x.index_select(axis, flat)
    return picked.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def _gather_elements(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.ndim
    return torch.gather(x, axis, _wrapped(indices, x.shape[axis]))


def _gather_nd(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    batch = node.get("batch_dims", 0)
    index: list[Tensor] = []
    for axis in range(batch):
        counter = torch.arange(x.shape[axis], device=x.device)
        shape = [1] * (indices.ndim - 1)
        shape[axis] = -1
        index.append(counter.reshape(shape))
    index += [
        _wrapped(indices[..., part], x.shape[batch + part]) for part in range(indices.shape[-1])
    ]
    return x[tuple(index)]


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _scatter_elements(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.ndim
    where = _wrapped(indices, x.shape[axis])
    how = node.get("reduction", "none")
    if how == "none":
        return x.scatter(axis, where, updates)
    return x.scatter_reduce(axis, where, updates, _REDUCTIONS[how])


def _scatter_nd(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """Scatter into the rows of a matrix: each index tuple selects a row, each update fills one."""
    depth = indices.shape[-1]
    lead, rest = list(x.shape[:depth]), list(x.shape[depth:])
    row = torch.zeros_like(indices[..., 0], dtype=torch.int64)
    for part in range(depth):
        row = row * lead[part] + _wrapped(indices[..., part], lead[part])
    count, width = int(np.prod(lead)), int(np.prod(rest))
    flat = x.reshape(count, width)
    rows = row.reshape(-1, 1).expand(-1, width)
    new = updates.reshape(-1, width)
    how = node.get("reduction", "none")
    if how == "none":
        return flat.scatter(0, rows, new).reshape(x.shape)
    return flat.scatter_reduce(0, rows, new, _REDUCTIONS[how]).reshape(x.shape)


def _top_k(node: Node, x: Tensor, k: np.ndarray) -> tuple[Tensor, Tensor]:
    count, axis = int(k.ravel()[0]), node.get("axis", -1)
    # A stable sort keeps the lower index first among equals, as ONNX requires.
    is_descending = bool(node.get("largest", 1))
    values, indices = torch.sort(x, dim=axis, descending=is_descending, stable=True)
    return values.narrow(axis, 0, count), indices.narrow(axis, 0, count)


def _arg_extreme(node: Node, x: Tensor, is_max: bool) -> Tensor:
    axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
    find = torch.argmax if is_max else torch.argmin
    if not node.get("select_last_index", 0):
        return find(x, axis, keepdim=keep)
    return x.shape[axis] - 1 - find(x.flip(axis), axis, keepdim=keep)


def _one_hot(node: Node, indices: Tensor, depth: np.ndarray, values: Tensor) -> Tensor:
    count, axis = int(depth.ravel()[0]), node.get("axis", -1)
    axis = axis % (indices.ndim + 1)
    steps = torch.arange(count, device=indices.device)
    steps = steps.reshape([-1] + [1] * (indices.ndim - axis))
    hit = _wrapped(indices, count).unsqueeze(axis) == steps
    return torch.where(hit, values[1], values[0])


def _non_zero(_: Node, x: Tensor) -> Tensor:
    return torch.nonzero(x).t()


def _compress(node: Node, x: Tensor, condition: np.ndarray) -> Tensor:
    axis = node.get("axis")
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    chosen = np.flatnonzero(condition)
    return x.index_select(axis, torch.from_numpy(chosen).to(x.device))


OPS = {
    "Gather": Op(_gather, numbers=(1,), scalar_rank=0),
    "GatherElements": Op(_gather_elements),
    "GatherND": Op(_gather_nd),
    "ScatterElements": Op(_scatter_elements),
    "Scatter": Op(_scatter_elements),
    "ScatterND": Op(_scatter_nd),
    "TopK": Op(_top_k, known=(1,)),
    "ArgMax": Op(lambda node, x: _arg_extreme(node, x, True)),
    "ArgMin": Op(lambda node, x: _arg_extreme(node, x, False)),
    "OneHot": Op(_one_hot, known=(1,)),
    "NonZero": Op(_non_zero),
    "Compress": Op(_compress, known=(1,)),
}
