"""Classifiers, a detector and a transformer, each quantized well and badly."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import tersor
from benchmarks.harness.subject import spread
from benchmarks.minilm import EXAMPLE, encoder
from benchmarks.verdicts.case import Case, cases
from benchmarks.zoo import MODELS, accuracy
from benchmarks.zoo.data import asset
from benchmarks.zoo.detection import average_precision, coco128, detections
from benchmarks.zoo.sentences import PUBLISHED, calibration, minilm, pairs, spearman, tokenize
from tersor.export.sessions.runtime import Config, Runtime

_NEAREST = tersor.WithData(rounding=None)
_IMAGES = {"resnet20": 1000, "shufflenetv2_x0_5": 1000, "efficientnet_lite0": 200}
_BATCH = 50
_SEEN = 128


def classifiers(folder: Path) -> Iterator[Case]:
    """Top-1 accuracy says what they are worth."""
    for name, count in _IMAGES.items():
        model = MODELS[name]
        images, labels = spread(*model.data(), count)
        few = model.normalize(model.pixels()[0][:_SEEN:2])  # the first ones, not the same

        points = partial(_top1, images, labels)
        pixels = {"input_range": model.input_range}
        ways = {
            "8 bits without data": pixels,
            "4 bits, one scale a layer, to nearest": {
                "weights": 4,
                "data": few,
                "scheme": "dfq-paper",
                "options": _NEAREST,
            },
            "2 bits, to nearest": {"weights": 2, "data": few, "options": _NEAREST},
            "8 bits, a tenth of the inputs' range": {
                "input_range": tuple(x / 10 for x in model.input_range)
            },
        }
        if name != "efficientnet_lite0":
            ways["4 bits with 64 images"] = {"weights": 4, "data": few}
        given = (model.load(), model.example())
        yield from cases(name, given, ways, list(images.split(_BATCH)), points, folder)


def _top1(images: Tensor, labels: Tensor, path: Path, config: Config) -> float:
    file = Runtime(path, config=config)

    def predict(batch: Tensor) -> np.ndarray:
        return file(batch)[file.outputs[0]]

    return accuracy(predict, images, labels, _BATCH)


def detector(folder: Path) -> Iterator[Case]:
    """The average precision of FastestDet says what it is worth."""
    photographs = coco128()
    inputs = [torch.from_numpy(photograph.pixels) for photograph in photographs[:48]]
    few = torch.from_numpy(np.concatenate([x.pixels for x in coco128("train2017")[:32]]))

    def points(path: Path, config: Config) -> float:
        file = Runtime(path, config=config)
        outputs = [file(x.pixels)[file.outputs[0]][0] for x in photographs]
        found = [detections(y, x.size) for y, x in zip(outputs, photographs, strict=True)]
        return average_precision(found, photographs)

    ways = {
        "8 bits without data": {"input_range": (0.0, 1.0)},
        "8 bits with 32 images": {"data": few},
        "4 bits, to nearest": {"weights": 4, "data": few, "options": _NEAREST},
    }
    given = tersor.load(asset("weights/FastestDet.onnx"))
    yield from cases("FastestDet", given, ways, inputs, points, folder)


def transformer(folder: Path) -> Iterator[Case]:
    """What people said of pairs of sentences says what MiniLM is worth."""
    name = next(iter(PUBLISHED))
    _, first, _ = pairs(name)
    inputs = [tuple(x[i : i + _BATCH] for x in first) for i in range(0, 200, _BATCH)]
    few = calibration(_SEEN)

    def points(path: Path, config: Config) -> float:
        return 100 * spearman(encoder(Runtime(path, config=config)), name)

    ways = {
        "8 bits without data": {},
        "4 bits, to nearest": {"weights": 4, "data": few, "options": _NEAREST},
        "2 bits, to nearest": {"weights": 2, "data": few, "options": _NEAREST},
    }
    yield from cases("MiniLM", (minilm(), tokenize(EXAMPLE)), ways, inputs, points, folder)
