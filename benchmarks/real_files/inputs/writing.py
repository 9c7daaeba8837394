"""Text as pictures: lines, pages and puzzles, in many fonts, sizes, colours and noises."""

import re
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from benchmarks.zoo.data import asset

_FONTS = Path("/usr/share/fonts/truetype/dejavu")
_FACES = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf")
_PUZZLE = "abdefghkmnpqrstuvwxy2345678"


@dataclass(frozen=True)
class Line:
    """A picture of one line of text.

    Attributes:
        image: In RGB.
        text: What is written there.
    """

    image: Image.Image
    text: str


def lines(
    count: int, seed: int = 0, words: tuple[int, int] = (2, 4), noise: float = 8.0
) -> list[Line]:
    """Lines of a few words.

    Args:
        count: How many.
        seed: Of all choices.
        words: Fewest and most in a line.
        noise: The greatest, in steps of 256.
    """
    generator, source = np.random.default_rng(seed), _words()
    found, at = [], 0
    for _ in range(count):
        length = int(generator.integers(words[0], words[1] + 1))
        found.append(_line(" ".join(source[at : at + length]), generator, noise))
        at += length
    return found


def puzzles(count: int, seed: int = 1) -> list[Line]:
    """Four letters and digits on a noisy ground, as sites ask for them."""
    generator = np.random.default_rng(seed)
    texts = ["".join(generator.choice(list(_PUZZLE), 4)) for _ in range(count)]
    return [_line(text, generator, 20.0) for text in texts]


def pages(count: int, size: tuple[int, int], seed: int = 2) -> list[Image.Image]:
    """Pages with a few lines each, in several sizes.

    Args:
        count: How many.
        size: Width and height.
        seed: Of all choices.
    """
    generator, source = np.random.default_rng(seed), _words()
    return [_page(size, source, generator) for _ in range(count)]


def puzzle_pictures(
    grounds: list[Image.Image], size: tuple[int, int], seed: int = 3
) -> list[Image.Image]:
    """Photographs with a few large letters on them, to be found."""
    generator = np.random.default_rng(seed)
    return [_letters(ground.resize(size), generator) for ground in grounds]


def sentences(count: int) -> list[str]:
    """Sentences of the pairs in the assets, else of Python's own manual."""
    try:
        path = asset("data/sts/2014.images.tsv")
        rows = [row.split("\t") for row in path.read_text(encoding="utf-8").splitlines()]
        found = [row[1] for row in rows if len(row) == 3]
    except FileNotFoundError:
        text = " ".join(topics[name] for name in sorted(topics))
        found = re.findall(r"[A-Z][a-z]+(?: [a-z]+){4,12}", " ".join(text.split()))
    return found[:count]


def _words() -> list[str]:
    return re.findall(r"[A-Za-z][a-z]{2,11}", " ".join(sentences(2000)))


def _font(size: int, generator: np.random.Generator) -> ImageFont.FreeTypeFont:
    """Pillow's own font, or one of the common ones where they are installed."""
    faces = [path for name in _FACES if (path := _FONTS / name).exists()]
    choice = int(generator.integers(len(faces) + 1))
    if choice < len(faces):
        return ImageFont.truetype(faces[choice], size)
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _line(text: str, generator: np.random.Generator, noise: float) -> Line:
    font = _font(int(generator.integers(22, 44)), generator)
    left, top, right, bottom = font.getbbox(text)
    margin = int(generator.integers(3, 9))
    size = int(right - left) + 2 * margin, int(bottom - top) + 2 * margin
    ground, ink = _colours(generator)
    image = Image.new("RGB", size, ground)
    ImageDraw.Draw(image).text((margin - left, margin - top), text, fill=ink, font=font)
    return Line(_worn(image, generator, noise), text)


def _page(size: tuple[int, int], words: list[str], generator: np.random.Generator) -> Image.Image:
    ground, ink = _colours(generator)
    image = Image.new("RGB", size, ground)
    draw, height = ImageDraw.Draw(image), 10
    while height < size[1] - 60:
        font = _font(int(generator.integers(14, 38)), generator)
        at = int(generator.integers(len(words) - 5))
        text = " ".join(words[at : at + int(generator.integers(1, 5))])
        draw.text((int(generator.integers(5, size[0] // 3)), height), text, fill=ink, font=font)
        height += int(font.size * generator.uniform(1.4, 3.0))
    return _worn(image, generator, 6.0)


def _letters(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    draw = ImageDraw.Draw(image)
    columns = generator.permutation(4)[: int(generator.integers(3, 5))]
    for column in columns:
        font = _font(int(generator.integers(38, 60)), generator)
        x = column * image.width // 4 + int(generator.integers(5, 20))
        y = int(generator.integers(10, image.height - 70))
        colour = tuple(int(value) for value in generator.integers(0, 256, 3))
        letter = str(generator.choice(list(_PUZZLE))).upper()
        draw.text((x, y), letter, fill=colour, font=font, stroke_width=2, stroke_fill="white")
    return image


def _colours(generator: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the ground and of the ink: light and dark, or the other way round."""
    light = tuple(int(value) for value in generator.integers(190, 256, 3))
    dark = tuple(int(value) for value in generator.integers(0, 80, 3))
    return (light, dark) if generator.random() < 0.8 else (dark, light)


def _worn(image: Image.Image, generator: np.random.Generator, noise: float) -> Image.Image:
    """A little blurred and noisy, as a photograph or a scan is."""
    blurred = image.filter(ImageFilter.GaussianBlur(float(generator.uniform(0, 0.7))))
    pixels = np.asarray(blurred, np.float32)
    pixels = pixels + generator.normal(0, generator.uniform(0, noise), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
