"""Ops that move values and compute nothing: shapes, slices, padding, joins."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tersor.frontend.onnx.known import known_sizes
from tersor.frontend.onnx.node import Node, Op

_Known = np.ndarray | None


def numbers(node: Node, name: str, given: _Known, default: Any = None) -> Any:
    """Read integers that older opsets have as an attribute, and newer ones as an input."""
    if given is None:
        found = node.get(name)
        return default if found is None else list(found)
    return [_plain(value) for value in given.ravel().tolist()]


def _plain(value: Any) -> Any:
    return value if isinstance(value, torch.SymInt) else int(value)


def _shape(node: Node, x: Tensor) -> np.ndarray:
    return known_sizes(x.shape)[slice(node.get("start", 0), node.get("end"))]


def _reshape(node: Node, x: Tensor, shape: np.ndarray) -> Tensor:
    wanted = numbers(node, "shape", shape)
    if not node.get("allowzero", 0):
        zeros = [i for i, size in enumerate(wanted) if isinstance(size, int) and size == 0]
        for axis in zeros:
            wanted[axis] = x.shape[axis]
    return x.reshape(wanted)


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1 and x.ndim > 1:
        return x.flatten(1)
    rows = int(np.prod(x.shape[:axis])) if axis == 0 else x.shape[:axis].numel()
    return x.reshape(rows, x.shape[axis:].numel())


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node.get("perm") or tuple(reversed(range(x.ndim))))


def _squeeze(node: Node, x: Tensor, axes: _Known = None) -> Tensor:
    chosen = numbers(node, "axes", axes)
    return x.squeeze() if chosen is None else x.squeeze(tuple(chosen))


def _unsqueeze(node: Node, x: Tensor, axes: _Known = None) -> Tensor:
    chosen = numbers(node, "axes", axes, [])
    rank = x.ndim + len(chosen)
    for axis in sorted(axis % rank for axis in chosen):
        x = x.unsqueeze(axis)
    return x


def _slice(
    node: Node,
    x: Tensor,
    starts: _Known = None,
    ends: _Known = None,
    axes: _Known = None,
    steps: _Known = None,
) -> Tensor:
    first, last = numbers(node, "starts", starts), numbers(node, "ends", ends)
    chosen = numbers(node, "axes", axes, list(range(len(first))))
    strides = numbers(node, "steps", steps, [1] * len(first))
    for start, end, axis, step in zip(first, last, chosen, strides, strict=True):
        x = _slice_axis(x, start, end, axis % x.ndim, step)
    return x


def _slice_axis(x: Tensor, start: Any, end: Any, axis: int, step: int) -> Tensor:
    if step > 0:
        return torch.ops.aten.slice.Tensor(x, axis, start, end, step)
    indices = range(x.shape[axis])[slice(start, _backward_end(end, x.shape[axis]), step)]
    return x.index_select(axis, torch.tensor(list(indices), dtype=torch.int64, device=x.device))


def _backward_end(end: int, size: int) -> int | None:
    return None if end < -size else end


def _split(node: Node, x: Tensor, sizes: _Known = None) -> tuple[Tensor, ...]:
    axis = node.get("axis", 0)
    chosen = numbers(node, "split", sizes)
    count = node.get("num_outputs", len(node.outputs)) if chosen is None else len(chosen)
    if count != len(node.outputs):
        raise ValueError(f"it makes {count:,} parts, and has {len(node.outputs):,} outputs")
    if chosen is None:
        part = -(-x.shape[axis] // count)
        chosen = [part] * (count - 1) + [x.shape[axis] - part * (count - 1)]
    return torch.split(x, chosen, axis)


def _pad(
    node: Node, x: Tensor, pads: _Known = None, value: Any = None, axes: _Known = None
) -> Tensor:
    amounts = numbers(node, "pads", pads)
    chosen = list(range(x.ndim)) if axes is None else [int(a) % x.ndim for a in axes.ravel()]
    before, after = [0] * x.ndim, [0] * x.ndim
    for position, axis in enumerate(chosen):
        before[axis], after[axis] = amounts[position], amounts[position + len(chosen)]
    mode = node.get("mode", "constant")
    if mode == "constant":
        flat = [n for axis in reversed(range(x.ndim)) for n in (before[axis], after[axis])]
        while flat and not any(flat[-2:]):
            del flat[-2:]
        constant = node.get("value", 0.0) if value is None else value.ravel()[0].item()
        return F.pad(x, flat, value=constant) if flat else x
    if mode in _TORCH_PADS and _can_pad(x, before, after):
        flat = [n for axis in reversed(range(2, x.ndim)) for n in (before[axis], after[axis])]
        return F.pad(x, flat, mode=_TORCH_PADS[mode])
    for axis in range(x.ndim):
        if before[axis] or after[axis]:
            x = _pad_axis(node, x, axis, (before[axis], after[axis]), mode)
    return x


_TORCH_PADS = {"reflect": "reflect", "edge": "replicate"}


def _can_pad(x: Tensor, before: list[int], after: list[int]) -> bool:
    """Whether PyTorch has this padding; a large one may repeat a small input several times."""
    amounts = [*before, *after]
    room = [size > max(a, b) for size, a, b in zip(x.shape[2:], before[2:], after[2:], strict=True)]
    is_spatial = 3 <= x.ndim <= 5 and not any((*before[:2], *after[:2]))
    return is_spatial and x.is_floating_point() and min(amounts) >= 0 and all(room)


_LONGEST_PAD = 1 << 24
_NUMPY_PADS = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def _pad_axis(node: Node, x: Tensor, axis: int, amount: tuple[int, int], mode: str) -> Tensor:
    """Pad an axis with values of the tensor; NumPy tells which elements are repeated."""
    if mode not in _NUMPY_PADS:
        raise node.refuse(f"has the unknown mode {mode!r}")
    front, back = (max(size, 0) for size in amount)
    size = int(x.shape[axis])
    if front + back > _LONGEST_PAD:
        raise ValueError(f"{front + back:,} elements beside those of an axis are too many")
    indices = np.pad(np.arange(size), (front, back), mode=_NUMPY_PADS[mode])  # type: ignore
    indices = indices[max(-amount[0], 0) : len(indices) - max(-amount[1], 0)]
    return x.index_select(axis, torch.from_numpy(indices).to(x.device))


def _expand(_: Node, x: Tensor, shape: np.ndarray) -> Tensor:
    wanted = [_plain(size) for size in shape.ravel().tolist()]
    rank = max(len(wanted), x.ndim)
    have = [1] * (rank - x.ndim) + list(x.shape)
    wanted = [1] * (rank - len(wanted)) + wanted
    pairs = zip(have, wanted, strict=True)
    sizes = [h if isinstance(w, int) and w == 1 else w for h, w in pairs]
    return x.expand(sizes)


def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    size = node.get("blocksize", 1)
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, size)
    b, c, h, w = x.shape
    parts = x.reshape(b, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(b, c // size**2, h * size, w * size)


def _space_to_depth(node: Node, x: Tensor) -> Tensor:
    size = node.get("blocksize", 1)
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_unshuffle(x, size)
    b, c, h, w = x.shape
    parts = x.reshape(b, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(b, c * size**2, h // size, w // size)


def _trilu(node: Node, x: Tensor, offset: _Known = None) -> Tensor:
    diagonal = 0 if offset is None else int(offset.ravel()[0])
    return torch.triu(x, diagonal) if node.get("upper", 1) else torch.tril(x, diagonal)


def _tile(_: Node, x: Tensor, repeats: np.ndarray) -> Tensor:
    return x.repeat([_plain(count) for count in repeats.tolist()])


OPS = {
    "Shape": Op(_shape),
    "Size": Op(lambda _, x: known_sizes([x.shape.numel()]).reshape(())),
    "Reshape": Op(_reshape, known=(1,)),
    "Flatten": Op(_flatten),
    "Transpose": Op(_transpose),
    "Squeeze": Op(_squeeze, known=(1,)),
    "Unsqueeze": Op(_unsqueeze, known=(1,)),
    "Concat": Op(lambda node, *parts: torch.cat(parts, node.get("axis", 1))),
    "Split": Op(_split, known=(1,)),
    "Slice": Op(_slice, known=(1, 2, 3, 4)),
    "Pad": Op(_pad, known=(1, 2, 3)),
    "Expand": Op(_expand, known=(1,)),
    "Tile": Op(_tile, known=(1,)),
    "DepthToSpace": Op(_depth_to_space),
    "SpaceToDepth": Op(_space_to_depth),
    "Trilu": Op(_trilu, known=(1,)),
}
