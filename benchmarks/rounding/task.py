"""One network to be rounded: its calibration images by seed, and what came of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness.subject import spread
from benchmarks.zoo import MODELS, Model, accuracy
from benchmarks.zoo.data import cifar10_train
from tersor.graph.capture import capture
from tersor.graph.layers import layers
from tersor.graph.network import Network
from tersor.quantized import Quantized
from tersor.recipes import WithData, quantize

#: Granularity of the weights → scheme. Activations have one scale per tensor in both.
SCHEMES = {"tensor": "dfq-paper", "channel": "onnxruntime-cpu"}


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
        """Random training images."""
        pixels = _train()
        order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))
        return self.model.normalize(pixels[order[:count].numpy()])

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


@cache
def _train() -> Any:
    return cifar10_train()[0]
