"""The inputs of a layer at some of its output positions: im2col for a sample of positions.

Where channels lie next to each other in memory, they are read together.
"""

import math

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from tersor.graph.layers import Layer
from tersor.graph.nodes import argument


def choose_positions(
    layer: Layer, output: Tensor, count: int, generator: torch.Generator
) -> Int[Tensor, "batch positions"]:
    """Choose random output positions, different ones for every sample of a batch; in order.

    Args:
        layer: The layer.
        output: Its output.
        count: Number of positions for each sample; all of them if there are no more.
        generator: The source of random numbers.
    """
    size = math.prod(output.shape[1:-1] if layer.is_linear else output.shape[2:])
    if count >= size:
        return torch.arange(size, device=output.device).expand(len(output), size)
    drawn = torch.rand(len(output), size, generator=generator)
    found = drawn.topk(count, 1, largest=False, sorted=False).indices
    return found.sort(1).values.to(output.device)


def read_patches(
    layer: Layer, x: Tensor, positions: Int[Tensor, "batch positions"], zero: int = 0
) -> Real[Tensor, "groups inputs samples"]:
    """Extract the patch of the input for each position, flattened as a row of the grouped weight.

    Args:
        layer: A linear layer or a convolution that is not transposed.
        x: Its input.
        positions: Flat output positions, for each sample of the batch.
        zero: What stands for 0 in the input, where it is padded.
    """
    if layer.is_linear:
        return _rows(x, positions).T[None]
    index, inside = _places(layer, x.shape[2:], positions)
    if layer.groups == 1 and _has_channels_last(x):
        return _patches_of_rows(layer, x, index, inside, zero)
    found = x.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, x.shape[1], -1))
    if layer.pads_with_zeros:
        found.masked_fill_(~inside.flatten(1)[:, None], zero)
    found = found.unflatten(2, index.shape[1:]).permute(1, 2, 0, 3)
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
    if layer.groups == 1 and _has_channels_last(y):
        return _read_rows(y, positions).T[None]
    found = y.flatten(2).gather(2, positions[:, None].expand(-1, y.shape[1], -1))
    return found.transpose(0, 1).reshape(layer.groups, -1, positions.numel())


def _has_channels_last(x: Tensor) -> bool:
    return x.shape[1] > 1 and x.movedim(1, -1).is_contiguous()


def _read_rows(x: Tensor, places: Int[Tensor, "batch places"]) -> Real[Tensor, "rows channels"]:
    """The channels at some places of each sample, given as flat indices."""
    rows = x.movedim(1, -1).flatten(0, -2)
    size = len(rows) // len(x)
    if places.shape[1] == size and not places.stride(0):  # all of them, in order
        return rows
    first = torch.arange(len(x), device=x.device)[:, None] * size
    return rows.index_select(0, (places + first).flatten())


def _patches_of_rows(
    layer: Layer,
    x: Tensor,
    index: Int[Tensor, "batch taps positions"],
    inside: Bool[Tensor, "batch taps positions"],
    zero: int,
) -> Real[Tensor, "1 inputs samples"]:
    """The patches at the places that `_places` finds, for one group."""
    taps = index.shape[1]
    found = _read_rows(x, index.mT.flatten(1) if taps > 1 else index[:, 0])
    if layer.pads_with_zeros:
        found.masked_fill_(~inside.mT.reshape(-1, 1), zero)
    found = found.view(-1, taps, x.shape[1]).transpose(1, 2).flatten(1)
    return found.T[None]


def _rows(x: Tensor, positions: Tensor) -> Tensor:
    rows = x.reshape(len(x), -1, x.shape[-1])
    return rows.gather(1, positions[..., None].expand(-1, -1, x.shape[-1])).flatten(0, 1)


def _places(
    layer: Layer, size: torch.Size, positions: Int[Tensor, "batch positions"]
) -> tuple[Int[Tensor, "batch taps positions"], Bool[Tensor, "batch taps positions"]]:
    """What each tap of the kernel reads: flat indices into the input, and whether they lie in it.

    Args:
        layer: A convolution that is not transposed.
        size: Height and width of its input.
        positions: Flat output positions.
    """
    kernel, padding = layer.weight.shape[2:], _padding(layer)
    strides, dilations = (_per_axis(layer, name) for name in ("stride", "dilation"))
    before, after = padding[-2::-2], padding[::-2]  # they name the last axis first
    padded = torch.Size(sum(n) for n in zip(size, before, after, strict=True))
    output = _output_size(padded, kernel, strides, dilations)
    places, below = positions[:, None], 1
    taps = torch.arange(math.prod(kernel), device=positions.device)[:, None]
    index = torch.zeros_like(places + taps)
    inside = torch.ones_like(index, dtype=torch.bool)
    for axis in reversed(range(len(size))):
        start = places % output[axis] * strides[axis] - before[axis]
        along = start + taps % kernel[axis] * dilations[axis]
        inside &= (along >= 0) & (along < size[axis])
        index += along.clamp_(0, size[axis] - 1) * below
        below *= size[axis]
        places, taps = places // output[axis], taps // kernel[axis]
    return index, inside


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
