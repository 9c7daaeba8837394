"""Weights of 4 bits with data for a network of the size of ResNet-50: CPU seconds and memory.

    python -m benchmarks.rounding.large

The network is that of `transformers`, 25.6 million random weights, whose BatchNorms have the
statistics of the pictures. The pictures are noise of several scales, 224×224. SQNR is that of the
simulation on 16 other pictures, beside that of the nearest integers. One thread.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tersor
from benchmarks.harness import Table, alone, peak_megabytes
from tersor.core.metrics import decibels, signal_and_noise
from tersor.quant.levels import WithData

_SIZE, _TEST = 224, 16


class Logits(nn.Module):
    """Returns the logits of a classifier of `transformers`."""

    def __init__(self, model: Any) -> None:
        """Wrap a classifier.

        Args:
            model: The classifier.
        """
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures to logits."""
        return self.model(pixel_values=x, return_dict=False)[0]


def pictures(count: int, seed: int) -> Tensor:
    """Noise of several scales, as smooth as pictures are.

    Args:
        count: How many.
        seed: Seed of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(count, 3, _SIZE, _SIZE)
    for size in (4, 14, 56, _SIZE):
        noise = torch.randn(count, 3, size, size, generator=generator)
        total += F.interpolate(noise, size=(_SIZE, _SIZE), mode="bilinear") / 2
    return total


def network() -> nn.Module:
    """The network, with BatchNorm statistics of 32 pictures."""
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig()
    config.num_labels = 1000
    model = Logits(ResNetForImageClassification(config))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    with torch.no_grad():
        model.train()(pictures(32, 1))
    return model.eval()


def run(images: int, bits: int, rounded: bool, results: Any) -> None:
    """Quantize, and put the figures into a queue.

    Args:
        images: How many pictures.
        bits: Of the weights.
        rounded: Whether a solver rounds, or every weight gets the nearest integer.
        results: The queue.
    """
    torch.set_num_threads(1)
    model, data = network(), pictures(images, 2)
    before, start = peak_megabytes(), time.process_time()
    options = WithData(samples=None) if rounded else WithData(samples=None, rounding=None)
    quantized = tersor.quantize(model, data=data, weights=bits, options=options, tolerance=None)
    seconds, peak = time.process_time() - start, peak_megabytes()
    with torch.no_grad():
        x = pictures(_TEST, 3)
        found = decibels(*signal_and_noise(model(x), quantized.network(x)))
    results.put((before, peak, seconds, found))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", nargs="+", type=int, default=[256])
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--solvers", nargs="+", choices=["nearest", "fast"], default=["fast"])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table = Table(args, "images", "solver", "MB before", "peak MB", "quantize, CPU s", "SQNR dB")
    for images in args.images:
        for solver in args.solvers:
            figures = alone(run, images, args.bits, solver == "fast")
            before, peak, seconds, found = figures
            cells = (f"{before:.0f}", f"{peak:.0f}", f"{seconds:.0f}", f"{found:.1f}")
            table.add(str(images), solver, *cells, figures=figures)


if __name__ == "__main__":
    main()
