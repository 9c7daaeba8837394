"""One network to be trained: its training batches, and how it is quantized before."""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.rounding.task import CIFAR, Task, drawn
from benchmarks.zoo import MODELS
from benchmarks.zoo.data import cifar10_train
from tersor.api.quantize import quantize
from tersor.graph.layers import layers
from tersor.quant.fast_rounding import Rounding
from tersor.quant.levels import WithData
from tersor.results.quantized import Quantized

#: Where training starts → the solver that rounds before.
STARTS = {"nearest": None, "fast": Rounding()}
_ENDS = 8  # bits of the first and the last layer
_OTHERS = 8  # bits of what only additions, pooling, SiLU and the like read
_BORDER = 4  # pixels that images are shifted by at most


def need_training_images(parser: ArgumentParser, names: Sequence[str]) -> None:
    """End the program if there are none for some networks.

    Args:
        parser: What tells the user.
        names: Networks of the zoo.
    """
    unfit = [name for name in names if MODELS[name].size != CIFAR]
    if unfit:
        parser.error(
            f"there are no images to train {', '.join(unfit)} with; leave training out, or train "
            "with half of the test images where that is possible"
        )


@dataclass(frozen=True)
class TrainingTask:
    """A network of the zoo with training images.

    Attributes:
        task: The network with its test images.
        inputs: Training images, normalised.
        labels: Their classes.
    """

    task: Task
    inputs: Tensor
    labels: Tensor

    @staticmethod
    def of(name: str, limit: int | None = None, images: int | None = None) -> "TrainingTask":
        """A network, with at most so many test images and training images."""
        task = Task.of(name, limit)
        pixels, labels = _train()
        inputs = task.model.normalize(pixels[:images])
        return TrainingTask(task, inputs, torch.from_numpy(labels[:images]))

    @staticmethod
    def halved(name: str) -> "TrainingTask":
        """A network that learns from every second test image, and is tested on the others."""
        task = Task.of(name)
        others = replace(task, images=task.images[1::2], labels=task.labels[1::2])
        return TrainingTask(others, task.images[::2], task.labels[::2])

    def calibration(self, count: int, seed: int) -> Tensor:
        """Random training images, or photographs where there are none for this network."""
        if self.inputs.shape[-1] != self.task.model.size:
            return self.task.calibration(count, seed)
        return self.inputs[drawn(len(self.inputs), count, seed)]

    def quantize(self, bits: int, start: str, seed: int, others: int = _OTHERS) -> Quantized:
        """The network with few bits, before training.

        Args:
            bits: Of weights, and of what layers read; the first and the last layer have 8.
            start: One of `STARTS`.
            seed: Of the calibration images and of the solver.
            others: Bits of what is not read by a layer but by an addition, by pooling, by SiLU;
                papers leave it in floating point. 0: as many as what layers read.
        """
        solver = STARTS[start]
        solver = None if solver is None else replace(solver, seed=seed)
        names = [layer.name for layer in layers(self.task.network)]
        reading = {"*": others or bits} | dict.fromkeys(names, bits)
        return quantize(
            self.task.network,
            data=self.task.calibration(1024, seed),
            weights=self.with_ends({"*": bits}),
            activations=self.with_ends(reading),
            options=WithData(rounding=solver, samples=None),
        )

    def with_ends(self, bits: Mapping[str, int]) -> dict[str, int]:
        """The same with 8 bits for the first and for the last layer."""
        names = [layer.name for layer in layers(self.task.network)]
        return {**bits, names[0]: _ENDS, names[-1]: _ENDS}

    def batches(self, size: int) -> "Augmented":
        """Training batches, as they are drawn anew in each epoch."""
        return Augmented(self.inputs, self.labels, size)


@dataclass(frozen=True)
class Augmented:
    """Batches of shifted and mirrored images, in random order; a last one that is smaller is left.

    Attributes:
        inputs: The images.
        labels: Their classes.
        size: Images in a batch.
    """

    inputs: Tensor
    labels: Tensor
    size: int

    def __len__(self) -> int:
        """How many batches there are."""
        return len(self.inputs) // self.size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch, from torch's global random generator."""
        order = torch.randperm(len(self.inputs))
        for index in order[: len(self) * self.size].split(self.size):
            yield augmented(self.inputs[index]), self.labels[index]


def augmented(images: Tensor) -> Tensor:
    """Every image shifted by at most 4 pixels, zeros coming in, and mirrored or not."""
    count, _, height, width = images.shape
    padded = F.pad(images, (_BORDER,) * 4)
    down, right = torch.randint(0, 2 * _BORDER + 1, (2, count))
    mirrored = torch.rand(count) < 0.5
    columns = torch.arange(width).expand(count, width)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns) + right[:, None]
    rows = torch.arange(height) + down[:, None]
    samples = torch.arange(count)[:, None, None]
    return (
        padded.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None]]
        .permute(0, 3, 1, 2)
        .contiguous()
    )


@cache
def _train() -> tuple[np.ndarray, np.ndarray]:
    return cifar10_train()
