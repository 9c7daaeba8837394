"""Resize, in the modes that PyTorch computes exactly."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tersor.frontend.onnx.node import Node, Op
from tersor.frontend.onnx.padding import Size

Change = tuple[int, float, Size]  # an axis, its scale, and its new size
_LONGEST = 1 << 24  # elements of an axis
_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


def _resize(
    node: Node, x: Tensor, _roi: Any = None, scales: Any = None, sizes: Any = None
) -> Tensor:
    axes = [int(axis) % x.ndim for axis in node.get("axes") or range(x.ndim)]
    factors = None if scales is None or not scales.size else scales.ravel().tolist()
    wanted = None if sizes is None or not sizes.size else sizes.ravel().tolist()
    is_scaled = wanted is None
    if factors is None and wanted is None:
        raise node.refuse("has neither known scales nor known sizes")
    if wanted is not None:
        factors, wanted = _from_sizes(node, x, axes, wanted)
    else:
        assert factors is not None
        wanted = [
            _scaled(x.shape[axis], factor) for axis, factor in zip(axes, factors, strict=True)
        ]
    changed = [
        (axis, factor, size)
        for axis, factor, size in zip(axes, factors, wanted, strict=True)
        if not _is_same(axis, x.shape[axis], size)
    ]
    if node.get("mode", "nearest") == "nearest":
        return _nearest(node, x, changed, is_scaled)
    return _interpolate(node, x, changed, is_scaled)


def _scaled(size: Any, factor: float) -> Any:
    if factor == 1:
        return size
    if not isinstance(size, torch.SymInt):
        return int(size * factor)
    return size * int(factor) if factor == int(factor) else torch.sym_int(size * factor)


def _is_same(axis: int, have: Any, want: Any) -> bool:
    """Whether an axis keeps its size, whatever it is; a free batch is never resized."""
    if not isinstance(have, torch.SymInt):
        return have == hint(want)
    return str(have) == str(want) or (axis < 2 and not isinstance(want, torch.SymInt))


def hint(size: Any) -> Any:
    """The number that an open size is on the example."""
    return size.node.hint if isinstance(size, torch.SymInt | torch.SymFloat) else size


def _from_sizes(
    node: Node, x: Tensor, axes: list[int], sizes: list[Size]
) -> tuple[list[float], list[Size]]:
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    factors = [hint(size) / hint(x.shape[axis]) for axis, size in zip(axes, sizes, strict=True)]
    if policy == "stretch":
        return factors, sizes
    factor = min(factors) if policy == "not_larger" else max(factors)
    return [factor] * len(axes), [int(np.floor(x.shape[axis] * factor + 0.5)) for axis in axes]


def _nearest(node: Node, x: Tensor, changed: list[Change], is_scaled: bool) -> Tensor:
    picks = [
        (axis, _picked(node, hint(x.shape[axis]), factor, hint(size)))
        for axis, factor, size in changed
    ]
    spatial = list(range(2, x.ndim))
    is_torch = all(
        np.array_equal(picked, np.arange(len(picked)) * hint(x.shape[axis]) // len(picked))
        for axis, picked in picks
    )
    if picks and 3 <= x.ndim <= 5 and is_torch and all(axis in spatial for axis, _ in picks):
        return _pick_like_torch(x, changed, is_scaled)
    for axis, picked in picks:
        int(x.shape[axis])  # the elements are those of this size: an open one is fixed
        x = x.index_select(axis, torch.from_numpy(picked).to(x.device))
    return x


def _pick_like_torch(x: Tensor, changed: list[Change], is_scaled: bool) -> Tensor:
    if is_scaled and any(isinstance(size, torch.SymInt) for *_, size in changed):
        factors = {axis: factor for axis, factor, _ in changed}
        return F.interpolate(
            x, scale_factor=[float(factors.get(axis, 1)) for axis in range(2, x.ndim)]
        )
    found = {axis: size for axis, _, size in changed}
    return F.interpolate(x, [found.get(axis, x.shape[axis]) for axis in range(2, x.ndim)])


def _picked(node: Node, have: int, factor: float, want: int) -> np.ndarray:
    """Compute which input element each output element is."""
    if want > _LONGEST:
        raise ValueError(f"an axis of {want:,} elements is too long")
    at = _coordinates(node, have, factor, want)
    rounding = node.get("nearest_mode", "round_prefer_floor")
    functions = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda v: np.ceil(v - 0.5),
        "round_prefer_ceil": lambda v: np.floor(v + 0.5),
    }
    return np.clip(functions[rounding](at), 0, have - 1).astype(np.int64)


def _coordinates(node: Node, have: int, factor: float, want: int) -> np.ndarray:
    """Compute where each output element lies in the input."""
    mode = node.get("coordinate_transformation_mode", "half_pixel")
    at = np.arange(want, dtype=np.float64)
    if mode == "asymmetric":
        return at / factor
    if mode == "align_corners":
        return at * (have - 1) / (want - 1) if want > 1 else np.zeros(want)
    if mode == "pytorch_half_pixel" and want == 1:
        return np.zeros(want)
    if mode == "half_pixel_symmetric":
        adjustment = want / (factor * have)
        center = have / 2
        return center * (1 - adjustment) + (at + 0.5) / factor - 0.5
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (at + 0.5) / factor - 0.5
    raise node.refuse(f"maps coordinates by {mode!r}, which PyTorch cannot do")


def _interpolate(node: Node, x: Tensor, changed: list[Change], is_scaled: bool) -> Tensor:
    if not changed:
        return x
    corners = _check(node, x, changed)
    kind = node.get("mode", "nearest")
    mode = "bicubic" if kind == "cubic" else _LINEAR[x.ndim]
    options: dict[str, Any] = {"align_corners": corners}
    factors, sizes = [1.0] * (x.ndim - 2), list(x.shape[2:])
    for axis, factor, size in changed:
        factors[axis - 2], sizes[axis - 2] = factor, size
    if is_scaled and not corners:
        return F.interpolate(x, scale_factor=factors, mode=mode, **options)
    return F.interpolate(x, sizes, mode=mode, **options)


def _check(node: Node, x: Tensor, changed: list[Change]) -> bool:
    """Refuse what PyTorch computes differently; return whether the corners are aligned."""
    mode, how = (
        node.get("mode", "nearest"),
        node.get("coordinate_transformation_mode", "half_pixel"),
    )
    is_cubic = mode == "cubic"
    if (is_cubic and x.ndim != 4) or x.ndim not in _LINEAR or min(a for a, *_ in changed) < 2:
        raise node.refuse(f"resizes {x.ndim} axes in mode {mode!r}, which PyTorch cannot do")
    if node.get("antialias", 0) and any(factor < 1 for _, factor, _ in changed):
        raise node.refuse(
            "shrinks with antialias=1, which PyTorch computes differently at the edges"
        )
    if is_cubic and node.get("cubic_coeff_a", -0.75) != -0.75:
        raise node.refuse(f"has cubic_coeff_a {node.get('cubic_coeff_a')}; PyTorch has -0.75")
    if node.get("exclude_outside", 0):
        raise node.refuse("has exclude_outside=1, which PyTorch cannot do")
    single = any(hint(size) == 1 for *_, size in changed)
    if how not in ("align_corners", "half_pixel", "pytorch_half_pixel") or (
        single and how != "half_pixel"
    ):
        raise node.refuse(f"maps coordinates by {how!r}, which PyTorch cannot do in mode {mode!r}")
    return how == "align_corners"


OPS = {"Resize": Op(_resize, known=(1, 2, 3))}
