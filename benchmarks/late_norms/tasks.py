"""The networks, what they are tested on, and how their outputs are scored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.late_norms.networks import Detector, Segmenter
from benchmarks.late_norms.pictures import SIZE, Pictures, compose
from benchmarks.late_norms.train import box_loss, cells, pixel_loss, trained
from benchmarks.zoo.data import cifar10_test
from benchmarks.zoo.detection import Photograph, average_precision, coco128, detections
from benchmarks.zoo.fastestdet import fastestdet

_SAMPLES = 128


@dataclass(frozen=True)
class Task:
    """A network and how it is judged.

    Attributes:
        model: The network.
        samples: Pictures that it may be quantized with.
        test: Other ones.
        input_range: Smallest and largest value of a pixel.
        measure: Name of the score.
        score: The score of the outputs for the test pictures, in percent.
    """

    model: nn.Module
    samples: Tensor
    test: Tensor
    input_range: tuple[float, float]
    measure: str
    score: Callable[[np.ndarray], float]


def _segmenter(epochs: int, count: int) -> Task:
    model = trained("segmenter", Segmenter(), lambda x: x.classes, pixel_loss, epochs)
    test = compose(*cifar10_test(), count, seed=1)
    return _composed(model, test, "mIoU", lambda outputs: mean_overlap(outputs, test))


def _detector(epochs: int, count: int) -> Task:
    model = trained("detector", Detector(), cells, box_loss, epochs)
    test = compose(*cifar10_test(), count, seed=1)
    photographs = [Photograph(np.zeros(0), (SIZE, SIZE), boxes) for boxes in test.boxes]
    return _composed(model, test, "AP50", lambda outputs: precision(outputs, photographs))


def _composed(
    model: nn.Module, test: Pictures, measure: str, score: Callable[[np.ndarray], float]
) -> Task:
    samples = compose(*cifar10_test(), _SAMPLES, seed=2).pixels
    return Task(model, samples, test.pixels, (-2.0, 2.0), measure, score)


def _fastestdet(epochs: int, count: int) -> Task:  # noqa: ARG001
    seen, others = coco128("train2017"), coco128("val2017")[:count]
    samples, test = (
        torch.from_numpy(np.concatenate([x.pixels for x in y])) for y in (seen, others)
    )
    return Task(
        fastestdet(), samples, test, (0.0, 1.0), "AP50", lambda found: precision(found, others)
    )


def mean_overlap(outputs: np.ndarray, pictures: Pictures) -> float:
    """Intersection over union of each class over all pixels, its mean, in percent."""
    found, wanted = outputs.argmax(1), pictures.classes.numpy()
    shares = []
    for number in np.unique(wanted):
        is_found, is_wanted = found == number, wanted == number
        shares.append((is_found & is_wanted).sum() / (is_found | is_wanted).sum())
    return 100 * float(np.mean(shares))


def precision(outputs: np.ndarray, photographs: Sequence[Photograph]) -> float:
    """AP50, in percent."""
    found = [detections(x, photo.size) for x, photo in zip(outputs, photographs, strict=True)]
    return average_precision(found, list(photographs))


TASKS: dict[str, Callable[[int, int], Task]] = {
    "segmenter": _segmenter,
    "detector": _detector,
    "fastestdet": _fastestdet,
}
