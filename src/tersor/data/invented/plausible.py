"""Inputs that a network may meet, where the user gave none: never those that ranges came from.

Pictures are photographs, or noise with their spectrum, in the range that is known. Where the range
is a guess, they come in every usual one, and the worst counts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.data.invented.synthetic import (
    Synthetic,
    example_inputs,
    is_picture,
    synthetic_batches,
)
from tersor.data.outputs.outputs import noise_to_signal
from tersor.data.pictures.photographs import photographs
from tersor.data.pictures.preparations import NORMALIZED, PIXELS, SIGNED, UNIT, Preparation
from tersor.data.walk.observe import Batch
from tersor.data.walk.one_at_a_time import outputs_of
from tersor.graph.network import Network

_SEED = 1  # ranges come from seed 0
_OWN_COLOUR = 0.35  # of the amplitude that the channels share
_BATCHES = 2
USUAL = (UNIT, NORMALIZED, SIGNED, PIXELS)
Ends = tuple[float, float]


@dataclass(frozen=True)
class Assumed:
    """What was assumed about the inputs of a network that was quantized without data.

    Attributes:
        ranges: Input name → smallest and largest value.
        guessed: The inputs whose range is a guess.
    """

    ranges: Mapping[str, Ends] = field(default_factory=dict)
    guessed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Plausible:
    """Inputs that a network may meet.

    Attributes:
        words: What they are.
        batches: The inputs, as `(args, kwargs)`.
        way: How pictures were prepared, one of the usual ways, or None.
    """

    words: str
    batches: Sequence[Batch]
    way: Preparation | None = None

    @property
    def inputs(self) -> list[tuple[Tensor, ...]]:
        """The same, each batch as a tuple of its tensors."""
        leaves = [pytree.tree_leaves(batch) for batch in self.batches]
        return [tuple(x for x in batch if isinstance(x, Tensor)) for batch in leaves]


def worst_plausible(network: Network, original: Network, assumed: Assumed) -> Plausible:
    """Find plausible inputs on which a quantized network is worst.

    Args:
        network: The quantized network.
        original: The float network.
        assumed: What was assumed when it was quantized.
    """
    kinds = list(plausible(original, assumed))
    if len(kinds) == 1:
        return kinds[0]
    return max(kinds, key=lambda kind: _damage(network, original, kind.batches[:1]))


def _damage(network: Network, original: Network, batches: Sequence[Batch]) -> float:
    with torch.no_grad():
        found = noise_to_signal(
            outputs_of(network, batches, simulate=True), outputs_of(original, batches)
        )
    return found if found == found else float("inf")


def plausible(network: Network, assumed: Assumed) -> Iterator[Plausible]:
    """Make plausible inputs, of every usual range if that of a picture is a guess.

    Args:
        network: The float network.
        assumed: What was assumed about its inputs.
    """
    drawn = list(synthetic_batches(network, Synthetic(_BATCHES, _SEED), assumed.ranges))
    names = [name for name, x in example_inputs(network).items() if is_picture(x)]
    if not names:
        yield Plausible("random inputs", drawn)
        return
    pixels, words = _pixels(network, names)
    if not assumed.guessed & set(names):
        ways = {name: _linear(assumed.ranges.get(name, (0.0, 1.0))) for name in names}
        yield Plausible(words, _replaced(network, drawn, pixels, ways))
        return
    for way in USUAL:
        if all(x.shape[1] == 3 or way.is_grey for x in pixels.values()):
            made = _replaced(network, drawn, pixels, dict.fromkeys(names, way))
            yield Plausible(f"{words} as {way.words}", made, way)


def _linear(ends: Ends) -> Preparation:
    """Pixels in 0…1 are stretched to a range."""
    low, high = ends
    return Preparation("", -low / (high - low), 1 / (high - low))


def _pixels(network: Network, names: list[str]) -> tuple[dict[str, Tensor], str]:
    """Pictures in 0…1 for some inputs, enough for all batches, and what they are."""
    examples, found, words = example_inputs(network), {}, ""
    for name in names:
        count, *rest = examples[name].shape
        found[name], words = picture_pixels((_BATCHES * count, *rest))
    return found, words


def picture_pixels(shape: Sequence[int]) -> tuple[Float[Tensor, "n c h w"], str]:
    """Make pictures in 0…1, and say what they are.

    Args:
        shape: Their number, colours, height and width.
    """
    count, colours, height, width = shape
    found = photographs(count, colours, height, width, _SEED)
    if found is not None:
        return found, "photographs"
    noise = picture_noise(shape, torch.Generator().manual_seed(_SEED))
    return (0.5 + 0.25 * noise).clamp(0, 1), "noise with the spectrum of photographs"


def _replaced(
    network: Network,
    batches: Sequence[Batch],
    pixels: Mapping[str, Tensor],
    ways: Mapping[str, Preparation],
) -> list[Batch]:
    """Batches with prepared pictures in place of some inputs."""
    names, found = list(example_inputs(network)), []
    for number, batch in enumerate(batches):
        leaves, structure = pytree.tree_flatten(batch)
        for index, name in enumerate(names):
            if name in pixels:
                count = len(leaves[index])
                rows = pixels[name][number * count : (number + 1) * count]
                leaves[index] = ways[name].apply(rows).to(leaves[index])
        found.append(pytree.tree_unflatten(leaves, structure))
    return found


def picture_noise(shape: Sequence[int], generator: torch.Generator) -> Float[Tensor, "n c h w"]:
    """Draw noise of mean 0 and deviation 1 with the spectrum of photographs, an amplitude of 1/f.

    Field, 1987, "Relations between the statistics of natural images and the response properties of
    cortical cells". The channels share most of their signal, like the colours of a photograph.

    Args:
        shape: The shape, with the batch first and the colours second.
        generator: Draws the numbers.
    """
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
