"""The usual preparations of pictures, and the mistakes that people make with them.

A sample is brought back to pixels in 0…1 as if it had been prepared in one way, and prepared again
in another. If the network's statistics fit then, this was the mistake.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of pixels in 0…1
_NUMBERS = "mean = (0.485, 0.456, 0.406), std = (0.229, 0.224, 0.225)"
_OPTIONS = "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
_DARKEST, _BRIGHTEST = 0.3, 0.4  # pictures hold values below and above
_TAIL = 0.005  # share of the values that may be anything
_ROOM = 0.03  # beyond 0…1, from rounding and from other filters

Numbers = float | tuple[float, float, float]


@dataclass(frozen=True)
class Preparation:
    """What becomes of the pixels x in 0…1: (x − mean) / std.

    Attributes:
        words: What such values are.
        mean: Subtracted, for all colours or for red, green and blue.
        std: Divides after that.
        formula: How to compute them from pixels p in 0…255. Empty for a mistake.
        options: The same on the command line for a folder of images; empty if it takes none.
    """

    words: str
    mean: Numbers = 0.0
    std: Numbers = 1.0
    formula: str = ""
    options: str = ""

    @property
    def is_grey(self) -> bool:
        """Whether it is the same for all colours."""
        return isinstance(self.mean, float) and isinstance(self.std, float)

    def apply(self, pixels: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Prepare pixels in 0…1."""
        return (pixels - _column(self.mean, pixels)) / _column(self.std, pixels)

    def undo(self, values: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Find the pixels in 0…1 that values were made of."""
        return values * _column(self.std, values) + _column(self.mean, values)


def _column(numbers: Numbers, like: Tensor) -> Tensor:
    given = numbers if isinstance(numbers, tuple) else (numbers,)
    return torch.tensor(given, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)


UNIT = Preparation("pixels in 0…1", formula="p / 255", options="no --mean and no --std")
PIXELS = Preparation("pixels in 0…255", std=1 / 255, formula="p")
SIGNED = Preparation(
    "pixels in −1…1",
    0.5,
    0.5,
    "p / 127.5 - 1",
    "--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5",
)
NORMALIZED = Preparation(
    "pixels in 0…1, normalized with ImageNet's mean and std",
    MEAN,
    STD,
    f"(p / 255 - mean) / std with {_NUMBERS}",
    _OPTIONS,
)
CENTRED = Preparation(
    "pixels in 0…255 without their mean",
    MEAN,
    1 / 255,
    "p - mean with mean = (123.7, 116.3, 103.5)",
)
WANTED = (UNIT, NORMALIZED, SIGNED, PIXELS, CENTRED)
_MISTAKES = (
    Preparation("pixels in 0…1 that were divided by std, but whose mean was forgotten", 0.0, STD),
    Preparation("pixels in 0…1 without their mean that were not divided by std", MEAN, 1.0),
    Preparation(
        "pixels in 0…1 that were normalized with mean and std of pixels in 0…255",
        (255 * MEAN[0], 255 * MEAN[1], 255 * MEAN[2]),
        (255 * STD[0], 255 * STD[1], 255 * STD[2]),
    ),
    Preparation("pixels in 0…255 that were normalized twice by 255", 0.0, 255.0),
)
GIVEN = (*WANTED, *_MISTAKES)


@dataclass(frozen=True)
class Correction:
    """A change of the samples.

    Attributes:
        given: What the samples seem to be.
        wanted: What they become.
        swapped: Whether red and blue change places.
    """

    given: Preparation
    wanted: Preparation
    swapped: bool

    def __call__(self, values: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Prepare samples again."""
        pixels = self.given.undo(values)
        return self.wanted.apply(pixels.flip(1) if self.swapped else pixels)

    @property
    def words(self) -> str:
        """What is wrong with the samples, and what to do."""
        if self.given == self.wanted:
            return (
                "their channels seem to be swapped: they fit if red and blue change places, "
                "x.flip(1)"
            )
        order = ", with red and blue in the other order" if self.swapped else ""
        option = f"; on the command line {self.wanted.options}" if self.wanted.options else ""
        return (
            f"they look like {self.given.words}, and the network fits {self.wanted.words}{order}. "
            f"Prepare pixels p in 0…255 as {self.wanted.formula}{option}"
        )


def corrections(values: Float[Tensor, "n c h w"]) -> Iterator[Correction]:
    """List what may be wrong with samples, the simplest first.

    Args:
        values: The samples, with 1 or 3 colours.
    """
    is_grey = values.shape[1] == 1
    for swapped in (False,) if is_grey else (False, True):
        for given in GIVEN:
            if (is_grey and not given.is_grey) or not could_be(given, values):
                continue
            for wanted in WANTED:
                is_same = wanted == given and not swapped
                if not is_same and (wanted.is_grey or not is_grey):
                    yield Correction(given, wanted, swapped)


def could_be(given: Preparation, values: Float[Tensor, "n c h w"]) -> bool:
    """Whether values can come from pictures that were prepared in a way.

    Args:
        given: The preparation.
        values: The samples.
    """
    pixels = given.undo(values).flatten().sort().values
    last = len(pixels) - 1
    low, high = (float(pixels[round(share * last)]) for share in (_TAIL, 1 - _TAIL))
    return -_ROOM <= low <= _DARKEST and _BRIGHTEST <= high <= 1 + _ROOM
