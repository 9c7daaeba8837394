"""The networks: a float file, samples to calibrate with, and others to test on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter
import torch
from torch import nn

from benchmarks.zoo import MODELS
from benchmarks.zoo.data import asset
from benchmarks.zoo.detection import coco128
from benchmarks.zoo.sentences import PUBLISHED, minilm, pairs
from tersor.export.onnx import export_onnx
from tersor.export.runtime import Runtime
from tersor.frontend.capture import capture
from tersor.frontend.given import Example

Arrays = Mapping[str, np.ndarray]
_CALIBRATION = {"efficientnet_lite0": 128}  # samples; 256 of the small ones
_TEST = 256
_OPSET = 17
_SENTENCES = 256


@dataclass(frozen=True)
class Subject:
    """What all programs are given, and what their files are tested on.

    Attributes:
        name: Its name.
        path: The float file.
        samples: What is calibrated with: one array for each input.
        test: Other samples.
    """

    name: str
    path: Path
    samples: Arrays
    test: Arrays


def classifier(name: str, folder: Path) -> Subject:
    """A network of the zoo, with images in random order.

    Args:
        name: Its name there.
        folder: Where the float file goes.
    """
    model = MODELS[name]
    pixels, _ = model.pixels()
    order = torch.randperm(len(pixels), generator=torch.manual_seed(0)).numpy()
    count = _CALIBRATION.get(name, 256)
    images = model.normalize(pixels[order[: count + _TEST]]).numpy()
    return _written(name, model.load(), model.example(), folder, count, images)


def detector(folder: Path) -> Subject:
    """FastestDet, in an opset that holds weights per channel, calibrated on training photographs.

    Args:
        folder: Where its file goes.
    """
    path = folder / "fastestdet.onnx"
    original = onnx.load(asset("weights/FastestDet.onnx"))
    onnx.save(onnx.version_converter.convert_version(original, _OPSET), path)
    (name,) = Runtime(path).inputs
    found = [np.concatenate([x.pixels for x in coco128(s)]) for s in ("train2017", "val2017")]
    return Subject("FastestDet", path, {name: found[0]}, {name: found[1]})


def transformer(folder: Path) -> Subject:
    """MiniLM, with sentences of one set for each purpose.

    Args:
        folder: Where the float file goes.
    """
    first, second = PUBLISHED
    sets = [[x[:_SENTENCES].numpy() for x in pairs(name)[1]] for name in (first, second)]
    example = tuple(torch.from_numpy(x[:2]) for x in sets[0])
    path = export_onnx(capture(minilm(), example), folder / "minilm.onnx", expected=False).path
    names = tuple(Runtime(path).inputs)
    arrays = [dict(zip(names, found, strict=True)) for found in sets]
    return Subject("MiniLM", path, *arrays)


def _written(
    name: str, model: nn.Module, example: Example, folder: Path, count: int, images: np.ndarray
) -> Subject:
    path = export_onnx(capture(model, example), folder / f"{name}.onnx", expected=False).path
    (given,) = Runtime(path).inputs
    return Subject(name, path, {given: images[:count]}, {given: images[count:]})


NETWORKS: dict[str, Callable[[Path], Subject]] = {
    **{
        name: lambda folder, name=name: classifier(name, folder)
        for name in ("efficientnet_lite0", "resnet20", "shufflenetv2_x0_5")
    },
    "fastestdet": detector,
    "minilm": transformer,
}
