"""Writes ops in the form that XNNPACK has kernels for; what they compute stays the same.

Each rewrite turns a match into calls that the partitioner takes. Its rules:
executorch/backends/xnnpack/partition/config/generic_node_configs.py
"""

from collections.abc import Callable

import torch
from torch import fx

from tersor.export.pytorch.decomposed import DEQUANTIZE, QUANTIZE, call
from tersor.graph.network import Network
from tersor.graph.nodes import argument, operand
from tersor.graph.ops import DROPOUTS, PADS, clip_bounds

aten = torch.ops.aten
_PICTURE = (2, 3)  # the axes of height and width
_END = 2**31 - 1  # slices that end here or later reach to the end


def fit(network: Network) -> None:
    """Rewrite what XNNPACK would not take.

    Args:
        network: A network of `quantized_decomposed` calls; edited in place.
    """
    with torch.no_grad():
        for node in network.nodes():
            if node.target is aten.slice.Tensor:
                _as_convolution(network, node)
            elif node.target in _REWRITES:
                _REWRITES[node.target](node)
        for node in network.nodes():
            if node.target is DEQUANTIZE:
                _for_each_reader(node)
    network.finish()


def _skip(node: fx.Node) -> None:
    """Dropout does nothing in inference, but would stand between a quantizer and a layer."""
    node.replace_all_uses_with(argument(node, "input"))


def _as_hardtanh(node: fx.Node) -> None:
    """A clip behind a layer: its kernel takes a ReLU or Hardtanh, and no Clamp."""
    bounds = clip_bounds(node)
    if bounds is not None:
        largest = torch.finfo(torch.float32).max
        low, high = (max(-largest, min(largest, end)) for end in bounds)
        node.target, node.args, node.kwargs = aten.hardtanh.default, (node.args[0], low, high), {}


def _keep_axes(node: fx.Node) -> None:
    """A mean over height and width keeps its axes, which are dropped behind the quantizer."""
    source, axes, keeps = argument(node, "self"), argument(node, "dim"), argument(node, "keepdim")
    rank = node.meta["val"].ndim + (0 if keeps else 2)
    if keeps or rank != 4 or sorted(axis % rank for axis in axes or ()) != [*_PICTURE]:
        return
    node.args, node.kwargs = (source, [*_PICTURE], True), {}
    last = node
    while len(last.users) == 1 and next(iter(last.users)).target in (QUANTIZE, DEQUANTIZE):
        last = next(iter(last.users))
    readers = list(last.users)
    flat = call(last.next, aten.view.default, last, [-1, node.meta["val"].shape[1]])
    if last.target is DEQUANTIZE:
        flat = _again(flat.next, flat, last)
    for reader in readers:
        reader.replace_input_with(last, flat)


def _on_one_grid(node: fx.Node) -> None:
    """Parts of a concatenation are rounded to the grid of the result, as they will be anyway."""
    readers, parts = list(node.users), argument(node, "tensors")
    if len(readers) != 1 or readers[0].target is not QUANTIZE:
        return
    if any(part.target is not DEQUANTIZE for part in parts):
        return
    grid = readers[0].args[1:]
    fitted = [part if part.args[1:] == grid else _again(node, part, readers[0]) for part in parts]
    node.args = (fitted, *node.args[1:])


def _as_convolution(network: Network, node: fx.Node) -> None:
    """x[:, :, ::2] of pictures: a depthwise convolution with stride 2 whose weights are 1."""
    source, axis, start, end, step = (
        argument(node, name) for name in ("self", "dim", "start", "end", "step")
    )
    value = node.meta["val"]
    is_whole = start in (None, 0) and (end is None or (isinstance(end, int) and end >= _END))
    if is_whole and step == 1:
        node.replace_all_uses_with(source)
    if value.ndim != 4 or axis % 4 not in _PICTURE or step == 1 or not is_whole:
        return
    if source.target is not DEQUANTIZE:
        return
    channels = int(value.shape[1])
    ones = torch.full((channels, 1, 1, 1), 127, dtype=torch.int8, device=value.device)
    stored = network.add_tensor(f"{node.name}_ones", ones, before=node)
    weight = call(node, DEQUANTIZE, stored, 1 / 127, 0, -128, 127, torch.int8)
    stride = [step if k == axis % 4 else 1 for k in _PICTURE]
    taken = call(node, aten.conv2d.default, source, weight, None, stride, [0, 0], [1, 1], channels)
    if [reader.target for reader in node.users] != [QUANTIZE]:
        taken = _again(node, taken, source)
    node.replace_all_uses_with(taken)


def _round_padded(node: fx.Node) -> None:
    """A padded value is rounded again, which changes nothing: 0 is on the grid.

    XNNPACK pads the integers themselves, even where a call in float reads the result.
    """
    source, is_read_whole = operand(node), {reader.target for reader in node.users} == {QUANTIZE}
    if source.target is DEQUANTIZE and not is_read_whole:
        rounded = _again(node.next, node, source)
        node.replace_all_uses_with(rounded, lambda reader: reader is not rounded.args[0])


def _softmax_first(node: fx.Node) -> None:
    """softmax(permute(x)) = permute(softmax(x)), along the same axis.

    XNNPACK, as ExecuTorch 1.5 calls it, takes the softmax of four axes between two permutations
    along another one.
    """
    moved, axis = operand(node), argument(node, "dim")
    if moved.target is not aten.permute.default or len(moved.users) > 1:
        return
    dims = argument(moved, "dims")
    order = [place % len(dims) for place in dims]
    first = call(moved, node.target, operand(moved), order[axis], *node.args[2:])
    node.replace_all_uses_with(call(node, moved.target, first, order))


def _again(before: fx.Node, value: fx.Node, like: fx.Node) -> fx.Node:
    """Quantize a value on the grid of a node that quantizes or dequantizes."""
    whole = call(before, QUANTIZE, value, *like.args[1:])
    return call(before, DEQUANTIZE, whole, *like.args[1:])


def _for_each_reader(node: fx.Node) -> None:
    """Each reader dequantizes for itself: readers that share it may not be in two delegates."""
    for reader in list(node.users)[1:]:
        reader.replace_input_with(node, call(reader, DEQUANTIZE, *node.args))


_REWRITES: dict[object, Callable[[fx.Node], None]] = {
    aten.clamp.default: _as_hardtanh,
    aten.mean.dim: _keep_axes,
    aten.cat.default: _on_one_grid,
    **dict.fromkeys(DROPOUTS, _skip),
    **dict.fromkeys(PADS, _round_padded),
    aten.softmax.int: _softmax_first,
    aten._softmax.default: _softmax_first,
}
