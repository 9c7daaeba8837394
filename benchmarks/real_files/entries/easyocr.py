"""EasyOCR's networks from their PyTorch weights: CRAFT finds text, CRNN reads it."""

import string
from dataclasses import dataclass
from typing import cast

import numpy as np
from PIL import Image
from scipy import ndimage

from benchmarks.real_files.entry import Entry, Score
from benchmarks.real_files.inputs.writing import lines, pages
from benchmarks.real_files.networks.loaded import EASYOCR
from benchmarks.real_files.scores import box_f1, collapsed, equal, letters_right
from benchmarks.real_files.session import Session
from benchmarks.real_files.wheels import Wheel

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_ALPHABET = f"{string.digits}{string.punctuation} €{string.ascii_uppercase}{string.ascii_lowercase}"
_WIDTH = 400


@dataclass(frozen=True)
class Line:
    """A line of text.

    Attributes:
        pixels: (1, 1, 64, 400), in −1…1.
        text: What is written there.
    """

    pixels: np.ndarray
    text: str


def printed(_: Wheel) -> list[np.ndarray]:
    """Pages, normalized as for networks of ImageNet."""
    return [_normal(page) for page in pages(20, (416, 320), seed=7)]


def _normal(image: Image.Image) -> np.ndarray:
    pixels = (np.asarray(image, np.float32) / 255 - _MEAN) / _STD
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


def boxes(session: Session, sample: np.ndarray) -> np.ndarray:
    """Boxes around letters that belong together."""
    (maps,) = session(sample)
    letters, links = maps[0, :, :, 0], maps[0, :, :, 1]
    found = []
    together = (letters > 0.4) | (links > 0.4)
    names, _ = cast(tuple[np.ndarray, int], ndimage.label(together))
    for part, place in enumerate(ndimage.find_objects(names), 1):
        rows, columns = place
        inside = names[place] == part
        if inside.sum() >= 10 and letters[place][inside].max() >= 0.7:
            found.append([columns.start, rows.start, columns.stop, rows.stop, 0.0])
    return np.array(found, np.float64).reshape(-1, 5)


def written(_: Wheel) -> list[Line]:
    """Lines of one to three words, in grey, 64 high and padded to 400 with their last column."""
    return [Line(_strip(line.image.convert("L")), line.text) for line in lines(96, 8, (1, 2))]


def _strip(image: Image.Image) -> np.ndarray:
    width = min(_WIDTH, int(np.ceil(64 * image.width / image.height)))
    resized = np.asarray(image.resize((width, 64), Image.Resampling.BICUBIC), np.float32)
    strip = np.pad(resized, ((0, 0), (0, _WIDTH - width)), mode="edge")
    return (strip[None, None] / 255 - 0.5) / 0.5


def read(session: Session, sample: Line) -> str:
    """The text."""
    (scores,) = session(sample.pixels)
    return "".join(_ALPHABET[i - 1] for i in collapsed(scores[0].argmax(1)))


def right_letters(sample: Line, answer: str) -> Score:
    """How many letters were read."""
    return letters_right(sample.text, answer)


DETECTOR = Entry(
    name="CRAFT",
    requirement=EASYOCR,
    module="benchmarks.real_files.networks.loaded:craft",
    samples=printed,
    calibrate=4,
    use=boxes,
    same=box_f1,
    metric="box F1",
    least=0.9,
)
READER = Entry(
    name="CRNN",
    requirement=EASYOCR,
    module="benchmarks.real_files.networks.loaded:crnn",
    samples=written,
    calibrate=32,
    use=read,
    same=equal,
    metric="same text",
    least=0.95,
    truth=right_letters,
)
