"""One network to be rounded: its calibration images by seed, and what came of it."""

import io
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.harness.subject import spread
from benchmarks.zoo import MODELS, Model, accuracy
from benchmarks.zoo.data import asset, cifar10_train
from tersor.api.quantize import quantize
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.network import Network
from tersor.quant.levels import WithData
from tersor.results.quantized import Quantized

#: Granularity of the weights → scheme. Activations have one scale per tensor in both.
SCHEMES = {"tensor": "dfq-paper", "channel": "onnxruntime-cpu"}
CIFAR = 32  # size of its images
_CROPS = 8  # of each photograph


@dataclass(frozen=True)
class Outcome:
    """A rounded network, and what it took.

    Attributes:
        quantized: The network.
        seconds: CPU seconds of the whole call.
        solving: CPU seconds of the last step, the rounding.
    """

    quantized: Quantized
    seconds: float
    solving: float


@dataclass(frozen=True)
class Task:
    """A captured network with labelled test images and unlabelled training images.

    Attributes:
        model: Its entry in the zoo.
        network: The captured float network.
        images: Test inputs.
        labels: Their classes.
    """

    model: Model
    network: Network
    images: Tensor
    labels: Tensor

    @staticmethod
    def of(name: str, limit: int | None = None) -> "Task":
        """A network of the zoo with at most so many test images."""
        model = MODELS[name]
        images, labels = spread(*model.data(), limit)
        return Task(model, capture(model.load(), model.example()), images, labels)

    def calibration(self, count: int, seed: int) -> Tensor:
        """Random training images, or photographs where those are not at hand."""
        if self.model.size != CIFAR:
            return self.photographs(count, seed)
        return self._drawn(_train(), count, seed)

    def photographs(self, count: int, seed: int) -> Tensor:
        """Random crops of photographs, COCO train2017."""
        return self._drawn(_crops(self.model.size), count, seed)

    def _drawn(self, pixels: np.ndarray, count: int, seed: int) -> Tensor:
        return self.model.normalize(pixels[drawn(len(pixels), count, seed).numpy()])

    def bits(self, weights: int, ends: int | None) -> Mapping[str, int]:
        """Bits of all layers, and others of the first and the last."""
        names = [layer.name for layer in layers(self.network)]
        return {"*": weights} | ({} if ends is None else {names[0]: ends, names[-1]: ends})

    def round(
        self,
        bits: Mapping[str, int],
        scheme: str,
        data: Any,
        options: WithData,
        activations: int = 8,
    ) -> Outcome:
        """Quantize with data.

        Args:
            bits: Bits of the weights by layer name.
            scheme: The target.
            data: Calibration inputs.
            options: The steps, and the solver.
            activations: Bits of the activations; 16 are as good as float.
        """
        laps: list[float] = []
        start = time.process_time()
        quantized = quantize(
            self.network,
            data=data,
            scheme=scheme,
            weights=bits,
            activations=activations,
            options=options,
            on_step=lambda _: laps.append(time.process_time()),
        )
        end = time.process_time()
        return Outcome(quantized, end - start, end - laps[-1])

    def top1(self, network: Any) -> float:
        """Accuracy of a simulation on the test images, in percent."""
        return accuracy(network, self.images, self.labels)

    def runtime_top1(self, quantized: Quantized) -> float:
        """Accuracy of the exported file in onnxruntime."""
        with tempfile.TemporaryDirectory() as folder:
            path = quantized.export(Path(folder) / "rounded.onnx").path
            runtime = Runtime(path, config=quantized.scheme.session)

            def predict(batch: Tensor) -> np.ndarray:
                return runtime(batch)[runtime.outputs[0]]

            return accuracy(predict, self.images, self.labels)


def drawn(most: int, count: int, seed: int) -> Tensor:
    """Numbers of random images, none of them twice: at most `count` of `most`."""
    return torch.randperm(most, generator=torch.Generator().manual_seed(seed))[:count]


@cache
def _train() -> np.ndarray:
    return cifar10_train()[0]


@cache
def _crops(size: int) -> np.ndarray:
    """Random squares of photographs, scaled to one size."""
    generator, found = np.random.default_rng(0), []
    with np.load(asset("data/coco128_train2017.npz"), allow_pickle=False) as pack:
        jpeg, offsets = pack["jpeg"].tobytes(), pack["offsets"]
    for start, stop in pairwise(offsets):
        image = Image.open(io.BytesIO(jpeg[start:stop])).convert("RGB")
        for _ in range(_CROPS):
            side = int(min(image.size) * generator.uniform(0.4, 1))
            left, top = (int(generator.integers(0, extent - side + 1)) for extent in image.size)
            crop = image.crop((left, top, left + side, top + side))
            found.append(np.asarray(crop.resize((size, size), Image.Resampling.BICUBIC)))
    return np.stack(found)
