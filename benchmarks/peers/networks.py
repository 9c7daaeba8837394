"""The networks: a float file, samples to calibrate with, and others to test on."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from benchmarks.peers.corpus import REAL_FILES, real_file
from benchmarks.peers.subject import Subject, stored
from benchmarks.zoo import MODELS
from benchmarks.zoo.data import asset
from benchmarks.zoo.detection import Matched, coco128, detections, matched, precision_of
from benchmarks.zoo.sentences import PUBLISHED, minilm, pairs
from tersor.export.sessions.runtime import Runtime

_CALIBRATION = {"efficientnet_lite0": 128}  # samples; 256 of the small ones
_OPSET = 18
_SENTENCES = 256


def classifier(name: str, folder: Path, most: int) -> Subject:
    """A network of the zoo, with images in random order.

    Args:
        name: Its name there.
        folder: Where its files go.
        most: Images to test with at most.
    """
    model = MODELS[name]
    pixels, known = model.pixels()
    order = torch.randperm(len(pixels), generator=torch.manual_seed(0)).numpy()
    count = _CALIBRATION.get(name, 256)
    chosen, tested = order[:count], order[count : count + most]
    path = _exported(model.load(), (model.example(),), folder / f"{name}.onnx")
    (given,) = Runtime(path).inputs
    files = [
        stored(folder / f"{use}.npz", {given: model.normalize(pixels[numbers]).numpy()})
        for use, numbers in (("samples", chosen), ("test", tested))
    ]
    labels = known[tested]

    def top1(outputs: np.ndarray, numbers: np.ndarray) -> float:
        return 100 * float((outputs[numbers].argmax(1) == labels[numbers]).mean())

    return Subject(name, path, *files, "top-1", top1, len(tested))


def detector(folder: Path, most: int) -> Subject:
    """FastestDet, in an opset that holds weights per channel, calibrated on training photographs.

    Args:
        folder: Where its files go.
        most: Photographs to test with at most.
    """
    path = folder / "fastestdet.onnx"
    original = onnx.load(asset("weights/FastestDet.onnx"))
    onnx.save(onnx.version_converter.convert_version(original, _OPSET), path)
    (name,) = Runtime(path).inputs
    seen, others = coco128("train2017"), coco128("val2017")[:most]
    files = [
        stored(folder / f"{use}.npz", {name: np.concatenate([x.pixels for x in photographs])})
        for use, photographs in (("samples", seen), ("test", others))
    ]

    def found(outputs: np.ndarray) -> list[Matched]:
        both = zip(outputs, others, strict=True)
        return [matched(detections(output, photo.size), photo) for output, photo in both]

    def ap50(images: list[Matched], numbers: np.ndarray) -> float:
        return precision_of([images[number] for number in numbers])

    return Subject("fastestdet", path, *files, "AP50", ap50, len(others), found)


def transformer(folder: Path, most: int) -> Subject:
    """MiniLM, calibrated with sentences of one set, and tested with pairs of another.

    Args:
        folder: Where its files go.
        most: Pairs to test with at most.
    """
    first, second = PUBLISHED
    seen = [x[:_SENTENCES] for x in pairs(first)[1]]
    human, *sides = pairs(second)
    human = human[:most].numpy()
    tested = [torch.cat([a[:most], b[:most]]) for a, b in zip(*sides, strict=True)]
    path = _exported(minilm(), tuple(x[:2] for x in seen), folder / "minilm.onnx")
    names = tuple(Runtime(path).inputs)
    files = [
        stored(folder / f"{use}.npz", dict(zip(names, (x.numpy() for x in arrays), strict=True)))
        for use, arrays in (("samples", seen), ("test", tested))
    ]

    def correlation(outputs: np.ndarray, numbers: np.ndarray) -> float:
        similar = (outputs[: len(human)] * outputs[len(human) :]).sum(1)
        return 100 * float(spearmanr(similar[numbers], human[numbers]).statistic)

    return Subject("minilm", path, *files, "Spearman × 100", correlation, len(human))


def _exported(model: nn.Module, example: tuple[Tensor, ...], path: Path) -> Path:
    """The float file as PyTorch's own exporter writes it."""
    count, length = torch.export.Dim("n"), torch.export.Dim("t", max=128)
    axes = tuple({0: count, 1: length} if x.ndim == 2 else {0: count} for x in example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about PyTorch's own code
        torch.onnx.export(
            model.eval(),
            example,
            path,
            opset_version=_OPSET,
            dynamic_shapes=axes,
            external_data=False,
            verbose=False,
        )
    return path


NETWORKS: dict[str, Callable[[Path, int], Subject]] = {
    **{
        name: lambda folder, most, name=name: classifier(name, folder, most)
        for name in ("efficientnet_lite0", "resnet20", "resnet56", "shufflenetv2_x0_5")
    },
    "fastestdet": detector,
    "minilm": transformer,
    **{name: lambda folder, most, name=name: real_file(name, folder, most) for name in REAL_FILES},
}
