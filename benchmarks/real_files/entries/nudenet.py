"""YOLOv8n for 18 classes of body parts; height and width are open."""

import numpy as np
from PIL import Image

from benchmarks.real_files.entry import Entry
from benchmarks.real_files.inputs.photographs import photographs
from benchmarks.real_files.scores import best_boxes, box_f1
from benchmarks.real_files.session import Session
from benchmarks.real_files.wheels import Wheel

_SIZE = 320


def samples(_: Wheel) -> list[np.ndarray]:
    """Photographs, padded to a square below and to the right, RGB in 0…1."""
    return [_prepare(image) for image in photographs(256)]


def _prepare(image: Image.Image) -> np.ndarray:
    side = max(image.size)
    square = Image.new("RGB", (side, side))
    square.paste(image, (0, 0))
    pixels = np.asarray(square.resize((_SIZE, _SIZE), Image.Resampling.BILINEAR), np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]) / 255


def use(session: Session, sample: np.ndarray) -> np.ndarray:
    """Boxes after the suppression of those that overlap."""
    (output,) = session(sample)
    x, y, width, height = output[0, :4]
    corners = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1)
    scores = output[0, 4:]
    return best_boxes(corners, scores.max(0), scores.argmax(0), least=0.25, most=0.45)


DETECTOR = Entry(
    name="nudenet 320n",
    requirement="nudenet==3.4.2",
    member="nudenet/320n.onnx",
    samples=samples,
    calibrate=8,
    use=use,
    same=box_f1,
    metric="box F1",
    least=0.93,
)
