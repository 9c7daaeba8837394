"""ddddocr: puzzles of letters, read (with an LSTM) and found (a YOLOX for one class)."""

import ast
from dataclasses import dataclass

import numpy as np
from PIL import Image

from benchmarks.real_files.entry import Entry, Score
from benchmarks.real_files.inputs.photographs import photographs
from benchmarks.real_files.inputs.writing import puzzle_pictures, puzzles
from benchmarks.real_files.scores import best_boxes, box_f1, collapsed, equal, letters_right
from benchmarks.real_files.session import Session
from benchmarks.real_files.wheels import Wheel

_WHEEL = "ddddocr==1.6.1"
_SIZE, _STRIDES = 416, (8, 16, 32)
_CALIBRATION_WIDTH = 160
_ALPHABET = "CHARSET_BETA"


@dataclass(frozen=True)
class Puzzle:
    """A picture with letters.

    Attributes:
        pixels: (1, 1, 64, width), in 0…1.
        text: What is written there.
        alphabet: Character of each class.
    """

    pixels: np.ndarray
    text: str
    alphabet: tuple[str, ...]


def letters(wheel: Wheel) -> list[Puzzle]:
    """Puzzles of four letters, 64 high; those for calibration are all 160 wide."""
    alphabet = _alphabet(wheel.text("ddddocr/charsets.py"))
    found = []
    for line in puzzles(80):
        width = int(64 * line.image.width / line.image.height)
        width = width if len(found) >= READER.calibrate else _CALIBRATION_WIDTH
        image = line.image.resize((width, 64), Image.Resampling.LANCZOS).convert("L")
        pixels = np.asarray(image, np.float32)[None, None] / 255
        found.append(Puzzle(pixels, line.text, alphabet))
    return found


def _alphabet(source: str) -> tuple[str, ...]:
    """The list of characters, read out of the source of the package without running it."""
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == _ALPHABET:
            return tuple(ast.literal_eval(statement.value))
    raise ValueError(f"the package has no {_ALPHABET}")


def read(session: Session, sample: Puzzle) -> str:
    """The text."""
    (output,) = session(sample.pixels)
    return "".join(
        sample.alphabet[i] for i in collapsed(output.reshape(-1, output.shape[-1]).argmax(1))
    )


def right_letters(sample: Puzzle, answer: str) -> Score:
    """How many letters were read, large or small."""
    return letters_right(sample.text.lower(), answer.lower())


def pictures(_: Wheel) -> list[np.ndarray]:
    """Photographs with letters on them: blue, green, red in 0…255."""
    found = puzzle_pictures(photographs(40), (_SIZE, _SIZE))
    return [
        np.ascontiguousarray(np.asarray(image, np.float32)[None, :, :, ::-1].transpose(0, 3, 1, 2))
        for image in found
    ]


def boxes(session: Session, sample: np.ndarray) -> np.ndarray:
    """Boxes of the letters."""
    (output,) = session(sample)
    cells, strides = _grid()
    centre = (output[0, :, :2] + cells) * strides
    extent = np.exp(output[0, :, 2:4]) * strides
    corners = np.hstack([centre - extent / 2, centre + extent / 2])
    scores = output[0, :, 4] * output[0, :, 5]
    return best_boxes(corners, scores, np.zeros(len(scores)), least=0.1, most=0.45)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    cells, strides = [], []
    for stride in _STRIDES:
        y, x = np.mgrid[: _SIZE // stride, : _SIZE // stride]
        cells.append(np.stack([x, y], -1).reshape(-1, 2))
        strides.append(np.full((len(cells[-1]), 1), stride))
    return np.concatenate(cells), np.concatenate(strides)


READER = Entry(
    name="ddddocr common",
    requirement=_WHEEL,
    member="ddddocr/common.onnx",
    samples=letters,
    calibrate=32,
    use=read,
    same=equal,
    metric="same text",
    least=0.97,
    truth=right_letters,
)
DETECTOR = Entry(
    name="ddddocr det",
    requirement=_WHEEL,
    member="ddddocr/common_det.onnx",
    samples=pictures,
    calibrate=8,
    use=boxes,
    same=box_f1,
    metric="box F1",
    least=0.93,
)
