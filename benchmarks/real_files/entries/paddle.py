"""PP-OCR: which way up a line is, where lines are, and what they say."""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx
from PIL import Image
from scipy import ndimage

from benchmarks.real_files.entry import Entry, Score
from benchmarks.real_files.inputs.writing import lines, pages
from benchmarks.real_files.scores import box_f1, collapsed, equal, letters_right
from benchmarks.real_files.session import Session
from benchmarks.real_files.wheels import Wheel

_WHEEL = "rapidocr-onnxruntime==1.4.4"
_FOLDER = "rapidocr_onnxruntime/models"
_READER = f"{_FOLDER}/ch_PP-OCRv4_rec_infer.onnx"
_NARROWEST = 320


@dataclass(frozen=True)
class Sample:
    """An input, and what is known of it.

    Attributes:
        pixels: (1, 3, height, width).
        known: The text of a line, or whether it is upside down.
        alphabet: Character of each class but the first.
    """

    pixels: np.ndarray
    known: Any = None
    alphabet: str | tuple[str, ...] = ""


def _normal(image: Image.Image) -> np.ndarray:
    """Blue, green, red in −1…1."""
    pixels = np.asarray(image, np.float32)[:, :, ::-1].transpose(2, 0, 1)
    return (pixels / 255 - 0.5) / 0.5


def _strip(image: Image.Image, height: int, width: int) -> np.ndarray:
    """Resized to the height, then padded with zeros to the width."""
    scaled = min(width, math.ceil(height * image.width / image.height))
    resized = _normal(image.resize((scaled, height), Image.Resampling.BILINEAR))
    strip = np.zeros((1, 3, height, width), np.float32)
    strip[0, :, :, :scaled] = resized
    return strip


def turned_lines(_: Wheel) -> list[Sample]:
    """Noisy words, every other one upside down."""
    found = enumerate(lines(160, seed=4, words=(1, 1), noise=80.0))
    return [
        Sample(_strip(line.image.rotate(180 * (i % 2)), 48, 192), i % 2 == 1) for i, line in found
    ]


def turned(session: Session, sample: Sample) -> int:
    """Whether the line is upside down."""
    (output,) = session(sample.pixels)
    return int(output[0].argmax())


def written_lines(wheel: Wheel) -> list[Sample]:
    """Lines in their own widths; those for calibration are all 320 wide."""
    model = onnx.load(wheel.file(_READER), load_external_data=False)
    (characters,) = [p.value for p in model.metadata_props if p.key == "character"]
    alphabet = (*characters.splitlines(), " ")
    found = []
    for line in lines(112):
        width = max(_NARROWEST, math.ceil(48 * line.image.width / line.image.height))
        width = width if len(found) >= READER.calibrate else _NARROWEST
        found.append(Sample(_strip(line.image, 48, width), line.text, alphabet))
    return found


def read(session: Session, sample: Sample) -> str:
    """The text."""
    (output,) = session(sample.pixels)
    return "".join(sample.alphabet[i - 1] for i in collapsed(output[0].argmax(1)))


def printed_pages(_: Wheel) -> list[Sample]:
    """Pages, all of one size for calibration, then of several."""
    sizes = ((320, 416), (480, 320), (416, 416))
    found = pages(DETECTOR.calibrate, (480, 480), seed=2)
    found += [page for i, size in enumerate(sizes) for page in pages(6, size, seed=5 + i)]
    return [Sample(_normal(page)[None]) for page in found]


def boxes(session: Session, sample: Sample) -> np.ndarray:
    """Boxes around the parts of the map of text that hang together."""
    (output,) = session(sample.pixels)
    names, _ = cast(tuple[np.ndarray, int], ndimage.label(output[0, 0] > 0.3))
    found = []
    for part, place in enumerate(ndimage.find_objects(names), 1):
        rows, columns = place
        score = output[0, 0][rows, columns][names[rows, columns] == part].mean()
        if score >= 0.5 and min(rows.stop - rows.start, columns.stop - columns.start) >= 3:
            found.append([columns.start, rows.start, columns.stop, rows.stop, 0.0])
    return np.array(found, np.float64).reshape(-1, 5)


def right_way(sample: Sample, answer: int) -> Score:
    """Whether it was found which way up the line is."""
    return equal(int(sample.known), answer)


def right_letters(sample: Sample, answer: str) -> Score:
    """How many letters were read."""
    return letters_right(sample.known, answer)


CLASSIFIER = Entry(
    name="PP-OCR cls",
    requirement=_WHEEL,
    member=f"{_FOLDER}/ch_ppocr_mobile_v2.0_cls_infer.onnx",
    samples=turned_lines,
    calibrate=32,
    use=turned,
    same=equal,
    metric="same class",
    least=0.97,
    truth=right_way,
)
DETECTOR = Entry(
    name="PP-OCR det",
    requirement=_WHEEL,
    member=f"{_FOLDER}/ch_PP-OCRv4_det_infer.onnx",
    samples=printed_pages,
    calibrate=8,
    use=boxes,
    same=box_f1,
    metric="box F1",
    least=0.9,
)
READER = Entry(
    name="PP-OCR rec",
    requirement=_WHEEL,
    member=_READER,
    samples=written_lines,
    calibrate=32,
    use=read,
    same=equal,
    metric="same text",
    least=0.9,
    truth=right_letters,
)
