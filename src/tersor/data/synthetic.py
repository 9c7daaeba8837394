"""Generates random inputs in the shapes of the example inputs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.data.observe import Batch
from tersor.graph.network import Network
from tersor.graph.nodes import argument, source

_COLOURS = (1, 3, 4)
_SMALLEST_PICTURE = 16
_OWN_COLOUR = 0.35  # of the amplitude that the channels share


@dataclass(frozen=True)
class Synthetic:
    """Options of random inputs.

    Attributes:
        batches: Number of batches, each of the example's size.
        seed: Seed of the random numbers.
        margin: Share by which ranges measured on them are widened away from zero.
    """

    batches: int = 8
    seed: int = 0
    margin: float = 0.05


def example_inputs(network: Network) -> dict[str, Any]:
    """Input name → example value, in the order of the graph's inputs."""
    names = [node.name for node in network.graph.nodes if node.op == "placeholder"]
    return dict(zip(names, pytree.tree_leaves((network.args, network.kwargs)), strict=True))


def example_tensors(network: Network) -> dict[str, Tensor]:
    """Input name → example value, for the inputs that are tensors."""
    return {name: x for name, x in example_inputs(network).items() if isinstance(x, Tensor)}


def random_example(
    shapes: Sequence[Sequence[int]],
    input_range: tuple[float, float] | None = None,
    seed: int = 0,
    types: Sequence[torch.dtype] = (),
) -> tuple[Tensor, ...]:
    """Generate example inputs when only the shapes are known.

    Args:
        shapes: One shape per input.
        input_range: Floats are drawn uniformly from it, or else from a standard normal.
        seed: Seed of the random numbers.
        types: One dtype per input, if known; float32 by default. Integers are zeros and ones,
            which every table has and every mask may hold.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        if not dtype.is_floating_point:
            return torch.randint(0, 2, tuple(shape), generator=generator).to(dtype)
        if input_range is None:
            return torch.randn(*shape, generator=generator).to(dtype)
        low, high = input_range
        return (low + (high - low) * torch.rand(*shape, generator=generator)).to(dtype)

    known = [*types, *[torch.float32] * (len(shapes) - len(types))]
    return tuple(draw(shape, dtype) for shape, dtype in zip(shapes, known, strict=False))


def synthetic_batches(
    network: Network,
    options: Synthetic,
    input_ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Iterator[Batch]:
    """Generate random inputs in the shapes, and with the statistics, of the example inputs.

    Floating-point inputs are Gaussian with the example's mean and standard deviation, clipped to
    their range if it is given. Images have the spectrum of photographs. Token numbers, which are
    integers that an embedding looks up, are uniform over the rows of its table. Integers of zeros
    and ones are masks: they stay as in the example, as does anything that is not a number. Other
    integers are uniform between the example's smallest and largest value.

    Args:
        network: The network.
        options: See `Synthetic`.
        input_ranges: Input name → smallest and largest value.
    """
    generator = torch.Generator().manual_seed(options.seed)
    rows = vocabularies(network)
    limits = [
        (0.0, rows[name] - 1.0) if name in rows else (input_ranges or {}).get(name)
        for name in example_inputs(network)
    ]
    leaves, structure = pytree.tree_flatten((network.args, dict(network.kwargs)))
    for _ in range(options.batches):
        drawn = [_draw(x, limit, generator) for x, limit in zip(leaves, limits, strict=True)]
        yield pytree.tree_unflatten(drawn, structure)


def vocabularies(network: Network) -> dict[str, int]:
    """Input name → number of rows of the smallest embedding table that it is looked up in."""
    found: dict[str, int] = {}
    for node in network.nodes():
        if node.target is not torch.ops.aten.embedding.default:
            continue
        table, index = source(argument(node, "weight")), source(argument(node, "indices"))
        if index.op == "placeholder" and table.op == "get_attr":
            rows = len(network.tensor(table))
            found[index.name] = min(rows, found.get(index.name, rows))
    return found


def _draw(example: Any, limits: tuple[float, float] | None, generator: torch.Generator) -> Any:
    if not isinstance(example, Tensor) or example.dtype == torch.bool or example.is_complex():
        return example
    if not example.is_floating_point():
        low, high = (int(x) for x in limits or example.aminmax())
        if limits is None and 0 <= low <= high <= 1:
            return example
        drawn = torch.randint(low, high + 1, example.shape, generator=generator)
        return drawn.to(example)
    mean, std = _moments(example, limits)
    value = _noise(example.shape, generator).to(example) * std + mean
    return value if limits is None else value.clamp(*limits)


def _moments(example: Tensor, limits: tuple[float, float] | None) -> tuple[Any, Any]:
    """The mean and deviation to draw with; an example outside its range only gives the shape."""
    if limits is not None and not (limits[0] <= example.min() and example.max() <= limits[1]):
        low, high = limits
        return (low + high) / 2, (high - low) / math.sqrt(12)
    std = example.std(correction=0)
    return example.mean(), torch.where(std > 0, std, 1.0)


def _noise(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Draw standard normal noise; for images with the spectrum of photographs (amplitude 1/f).

    White noise has hardly any low frequencies, so a network without BatchNorm statistics would get
    ranges far below those on real images (Field, 1987, "Relations between the statistics of natural
    images and the response properties of cortical cells"). The channels share most of their signal,
    like the colours of a photograph.
    """
    is_picture = len(shape) == 4 and shape[1] in _COLOURS and min(shape[2:]) >= _SMALLEST_PICTURE
    if not is_picture:
        return torch.randn(shape, generator=generator)
    batch, channels, height, width = shape
    common = _pink(torch.randn(batch, 1, height, width, generator=generator))
    own = _pink(torch.randn(batch, channels, height, width, generator=generator))
    mixed = common + _OWN_COLOUR * own
    return (mixed - mixed.mean()) / mixed.std()


def _pink(white: Tensor) -> Tensor:
    height, width = white.shape[-2:]
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    frequency = torch.hypot(rows, columns.expand(height, -1)).clamp(min=1 / max(height, width))
    return torch.fft.irfft2(torch.fft.rfft2(white) / frequency, s=(height, width))
