"""Photographs: of COCO where the assets are at hand, else those that scikit-image ships."""

import io
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.zoo.data import asset

_SHIPPED = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle_left", "motorcycle_right")
_CROPS = 10


def photographs(count: int) -> list[Image.Image]:
    """Photographs in RGB, always the same ones.

    Args:
        count: How many.
    """
    if "TERSOR_ASSETS" in os.environ:
        return _coco(count)
    return _shipped(count)


def where_from() -> str:
    """Say where the photographs come from."""
    if "TERSOR_ASSETS" in os.environ:
        return "photographs of COCO"
    return "cut-outs of six photographs of scikit-image, since TERSOR_ASSETS is not set"


def _coco(count: int) -> list[Image.Image]:
    images = []
    for part in ("val2017", "train2017"):
        with np.load(asset(f"data/coco128_{part}.npz"), allow_pickle=False) as pack:
            jpeg = pack["jpeg"].tobytes()
            images += [
                Image.open(io.BytesIO(jpeg[a:b])).convert("RGB")
                for a, b in pairwise(pack["offsets"])
            ]
        if len(images) >= count:
            return images[:count]
    return images


def _shipped(count: int) -> list[Image.Image]:
    import skimage.data

    folder = Path(skimage.data.__file__).parent
    files = [path for name in _SHIPPED for path in folder.glob(f"{name}.*")]
    whole = [Image.open(path).convert("RGB") for path in sorted(files)]
    generator = np.random.default_rng(0)
    cut = [_cut(image, generator) for _ in range(_CROPS) for image in whole]
    return (whole + cut)[:count]


def _cut(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """A part of three fifths to all of each side, at times seen in a mirror."""
    width, height = (int(side * generator.uniform(0.6, 1)) for side in image.size)
    left = int(generator.integers(image.width - width + 1))
    top = int(generator.integers(image.height - height + 1))
    part = image.crop((left, top, left + width, top + height))
    if generator.random() < 0.5:
        return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return part
