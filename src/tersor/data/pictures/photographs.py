"""Photographs that scikit-image ships, cut and resized to the shape of an input."""

import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tersor.data.images import FORMATS

if TYPE_CHECKING:
    from PIL.Image import Image

NAMES = (
    "chelsea.png",
    "rocket.jpg",
    "astronaut.png",
    "motorcycle_left.png",
    "coffee.png",
    "camera.png",
)
_LEAST, _MOST = 0.5, 1.0  # share of each side that is cut out


def shipped(name: str) -> Path | None:
    """The file of a photograph, or None if it, or what reads it, is not installed.

    Args:
        name: Its name in scikit-image.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None or importlib.util.find_spec("PIL") is None:
        return None
    path = Path(spec.origin).parent / "data" / name
    return path if path.is_file() else None


def photographs(
    count: int, colours: int, height: int, width: int, seed: int = 0
) -> Float[Tensor, "n c h w"] | None:
    """Cut parts out of photographs: pixels in 0…1, or None if there are no photographs.

    Args:
        count: Number of pictures.
        colours: 1 for grey, 3 for red, green and blue.
        height: Their height.
        width: Their width.
        seed: Seed of the random cuts.
    """
    paths = [path for name in NAMES if (path := shipped(name)) is not None]
    if not paths or colours not in (1, 3):
        return None
    generator = np.random.default_rng(seed)
    mode = "L" if colours == 1 else "RGB"
    cut = [_cut(paths[i % len(paths)], mode, (width, height), generator) for i in range(count)]
    return torch.stack(cut)


@cache
def _opened(path: Path, mode: str) -> "Image":
    from PIL import Image

    with Image.open(path, formats=FORMATS) as opened:
        return opened.convert(mode)


def _cut(path: Path, mode: str, size: tuple[int, int], generator: np.random.Generator) -> Tensor:
    from PIL.Image import Resampling

    image = _opened(path, mode)
    sides = [int(side * generator.uniform(_LEAST, _MOST)) for side in image.size]
    left, top = (
        int(generator.integers(whole - side + 1))
        for whole, side in zip(image.size, sides, strict=True)
    )
    part = image.crop((left, top, left + sides[0], top + sides[1]))
    pixels = np.asarray(part.resize(size, Resampling.BILINEAR), np.float32) / 255
    return torch.from_numpy(pixels.reshape(size[1], size[0], -1)).permute(2, 0, 1)
