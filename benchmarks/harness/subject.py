"""One network of the zoo under test: captured once, quantized in many ways, run in onnxruntime."""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness.table import progress
from benchmarks.zoo import MODELS, Model, accuracy
from tersor.api.frame import Frame
from tersor.api.quantize import data_free
from tersor.export.sessions.runtime import Config, Runtime
from tersor.frontend.capture import capture
from tersor.graph.network import Network
from tersor.quant.levels import DataFree
from tersor.quant.ranges.input_range import input_ranges
from tersor.quant.scheme import Scheme
from tersor.quant.schemes import find_scheme
from tersor.results.quantized import Quantized

#: Values of one input batch: large enough for speed, and the activations stay in the cache.
_BATCH_VALUES = 10 * 3 * 224 * 224

#: All of data-free quantization, and min-max rounding without any of it.
DFQ = DataFree()
NAIVE = DataFree(equalize=None, absorb=None, correct_bias=False)


@dataclass(frozen=True)
class Subject:
    """A captured network with its labelled images, and a folder for its files.

    Attributes:
        model: Its entry in the zoo.
        network: The captured float network. Copies of it are quantized.
        images: Inputs (n, 3, size, size).
        labels: Classes (n,).
        folder: Where its files go; removed after its turn.
        threads: Threads of onnxruntime, or None for its own choice.
    """

    model: Model
    network: Network
    images: Tensor
    labels: Tensor
    folder: Path
    threads: int | None

    @property
    def name(self) -> str:
        """Key in the zoo."""
        return self.model.name

    @property
    def batch_size(self) -> int:
        """Images that are run at once."""
        return min(100, _BATCH_VALUES // self.images[0].numel())

    def quantize(
        self,
        scheme: str | Scheme,
        options: DataFree = DFQ,
        network: Network | None = None,
    ) -> Quantized:
        """Quantize without data.

        Args:
            scheme: The target runtime.
            options: Which steps to take.
            network: What to quantize, captured or later; by default the captured float network.
        """
        original = self.network if network is None else network
        target, simulation = find_scheme(scheme), original.copy()
        data_free(
            simulation, Frame(target), input_ranges(simulation, self.model.input_range), options
        )
        return Quantized(simulation, original, target)

    def runtime(self, path: Path, config: Config = ()) -> Runtime:
        """Load a file with the chosen number of threads."""
        return Runtime(path, config=config, threads=self.threads)

    def top1(self, path: Path, config: Config = ()) -> float:
        """Top-1 of a file in onnxruntime, in percent."""
        runtime = self.runtime(path, config)

        def predict(batch: Tensor) -> np.ndarray:
            return runtime(batch)[runtime.outputs[0]]

        return accuracy(predict, self.images, self.labels, self.batch_size)

    def quantized_top1(
        self,
        scheme: str | Scheme,
        options: DataFree = DFQ,
        network: Network | None = None,
    ) -> float:
        """Quantize, export, and measure the file with the session options of the scheme."""
        quantized = self.quantize(scheme, options, network)
        path = quantized.export(self.folder / "quantized.onnx").path
        return self.top1(path, quantized.scheme.session)


def subjects(
    args: argparse.Namespace, limits: Mapping[str, int] | None = None
) -> Iterator[Subject]:
    """The networks that the arguments name, one after the other.

    Args:
        args: The parsed arguments.
        limits: Network → number of images, unless `--limit` says another.
    """
    for name in args.models:
        progress(name)
        model = MODELS[name]
        images, labels = spread(*model.data(), args.limit or (limits or {}).get(name))
        with tempfile.TemporaryDirectory() as folder:
            network = capture(model.load(), model.example())
            yield Subject(model, network, images, labels, Path(folder), args.threads)


def spread(images: Tensor, labels: Tensor, limit: int | None) -> tuple[Tensor, Tensor]:
    """At most `limit` images, evenly spread over all."""
    count = min(limit or len(images), len(images))
    chosen = torch.arange(count) * len(images) // count
    return images[chosen], labels[chosen]
