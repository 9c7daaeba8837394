"""The inputs of a layer at some of its output positions: im2col for a sample of positions."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tersor.graph.layers import Layer
from tersor.graph.nodes import argument


def choose_positions(
    layer: Layer, output: Tensor, count: int, generator: torch.Generator
) -> Int[Tensor, "batch positions"]:
    """Choose random output positions, different ones for every sample of a batch.

    Args:
        layer: The layer.
        output: Its output.
        count: Number of positions for each sample; all of them if there are no more.
        generator: The source of random numbers.
    """
    size = math.prod(output.shape[1:-1] if layer.is_linear else output.shape[2:])
    order = torch.rand(len(output), size, generator=generator).argsort(1)
    return order[:, :count].to(output.device)


def read_patches(
    layer: Layer, x: Tensor, positions: Int[Tensor, "batch positions"]
) -> Float[Tensor, "groups inputs samples"]:
    """Extract the patch of the input for each position, flattened as a row of the grouped weight.

    Args:
        layer: A linear layer or a convolution that is not transposed.
        x: Its input.
        positions: Flat output positions, for each sample of the batch.
    """
    if layer.is_linear:
        return _rows(x, positions).T[None]
    kernel = layer.weight.shape[2:]
    padded = F.pad(x, _padding(layer))
    strides, dilations = (_per_axis(layer, name) for name in ("stride", "dilation"))
    output = _output_size(padded.shape[2:], kernel, strides, dilations)
    corners = _flat(positions, output, strides, padded.shape[2:])
    every = torch.arange(math.prod(kernel), device=x.device)
    taps = _flat(every, kernel, dilations, padded.shape[2:])
    index = (corners[..., None] + taps).flatten(1)
    found = padded.flatten(2).gather(2, index[:, None].expand(-1, x.shape[1], -1))
    found = found.unflatten(2, (positions.shape[1], len(taps))).permute(1, 3, 0, 2)
    return found.reshape(layer.groups, -1, positions.numel())


def written_outputs(
    layer: Layer, y: Tensor, positions: Int[Tensor, "batch positions"]
) -> Float[Tensor, "groups outputs samples"]:
    """Extract a value of the output's shape at some positions, by group.

    Args:
        layer: The layer.
        y: The value.
        positions: See `read_patches`.
    """
    if layer.is_linear:
        return _rows(y, positions).T[None]
    found = y.flatten(2).gather(2, positions[:, None].expand(-1, y.shape[1], -1))
    return found.transpose(0, 1).reshape(layer.groups, -1, positions.numel())


def _rows(x: Tensor, positions: Tensor) -> Tensor:
    rows = x.reshape(len(x), -1, x.shape[-1])
    return rows.gather(1, positions[..., None].expand(-1, -1, x.shape[-1])).flatten(0, 1)


def _flat(index: Tensor, size: torch.Size, steps: list[int], within: torch.Size) -> Tensor:
    """Convert flat indices into a map of shape `size` to those into a map of shape `within`."""
    result, below = torch.zeros_like(index), 1
    for axis in reversed(range(len(size))):
        result = result + index % size[axis] * steps[axis] * below
        index = index.div(size[axis], rounding_mode="floor")
        below *= within[axis]
    return result


def _output_size(
    padded: torch.Size, kernel: torch.Size, strides: list[int], dilations: list[int]
) -> torch.Size:
    zipped = zip(padded, kernel, strides, dilations, strict=True)
    return torch.Size((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zipped)


def _per_axis(layer: Layer, name: str) -> list[int]:
    value = argument(layer.node, name)
    value = [value] if isinstance(value, int) else list(value)
    return value * layer.kernel_dims if len(value) == 1 else value


def _padding(layer: Layer) -> list[int]:
    """The zeros before and after each axis, last axis first, as `F.pad` takes them."""
    padding = argument(layer.node, "padding")
    if isinstance(padding, str):
        spans = zip(_per_axis(layer, "dilation"), layer.weight.shape[2:], strict=True)
        total = [0 if padding == "valid" else d * (k - 1) for d, k in spans]
        return [n for span in reversed(total) for n in (span // 2, span - span // 2)]
    return [n for n in reversed(_per_axis(layer, "padding")) for _ in range(2)]
