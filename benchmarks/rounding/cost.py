"""What the fast solver takes for one large layer: seconds and memory, by size and by images.

    python -m benchmarks.rounding.cost

Weights and inputs are random, ReLU'd and correlated; a convolution of 512×4608 has 3×3 kernels on
maps of 14×14. Each row is measured in a process of its own; memory is what its peak exceeds that
of the process before the layer. Gram: one pass over the data. Solve: everything else.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness import Table, alone, peak_megabytes
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.quant.fast_rounding import Rounding, round_measured
from tersor.quant.placement.place import place, weight_quantizer
from tersor.quant.ranges.calibrate import weight_ranges
from tersor.quant.rounding.layer_task import LayerTask
from tersor.quant.schemes import ONNXRUNTIME_CPU

#: Name → layer and the shape of one input.
LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "512×4608": (lambda: nn.Conv2d(512, 512, 3, padding=1), (512, 14, 14)),
    "2048×512": (lambda: nn.Conv2d(512, 2048, 1), (512, 7, 7)),
    "960 depthwise": (lambda: nn.Conv2d(960, 960, 3, padding=1, groups=960), (960, 14, 14)),
}


def run(name: str, images: int, results: Any) -> None:
    """Measure one layer, and put the figures into a queue.

    Args:
        name: One of `LAYERS`.
        images: How many.
        results: The queue.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    x = _correlated(images, shape)
    network = capture(nn.Sequential(make()).eval(), x[:2])
    place(network, ONNXRUNTIME_CPU.with_bits(4, 8))
    weight_ranges(network)
    (layer,) = layers(network)
    quantizer = weight_quantizer(layer)
    assert quantizer is not None
    given = list(x.split(32))
    with torch.no_grad():
        wanted = [layer.run(part, layer.weight) for part in given]
        before, start = peak_megabytes(), time.process_time()
        options = Rounding()
        task = LayerTask(layer, quantizer, given, wanted, None, 0, 0)
        moments = task.moments(task.used, options.positions(task.weights.shape[-1]))
        gram = time.process_time() - start
        round_measured(task, moments, moments, options)
    seconds = time.process_time() - start
    results.put((gram, seconds - gram, peak_megabytes() - before))


def _correlated(images: int, shape: tuple[int, ...]) -> Tensor:
    channels = shape[0]
    mixing = torch.randn(channels, channels) / channels**0.5 + torch.eye(channels)
    x = torch.randn(images, channels, *shape[1:])
    return torch.einsum("oc,nc...->no...", mixing, x).relu_()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--images", nargs="+", type=int, default=[64, 256, 1024, 2048])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table = Table(args, "layer", "images", "Gram, CPU s", "solve, CPU s", "memory, MB")
    for name in args.layers:
        for images in args.images:
            gram, solving, memory = alone(run, name, images)
            cells = (f"{gram:.2f}", f"{solving:.2f}", f"{memory:.0f}")
            table.add(name, f"{images:,}", *cells, figures=(gram, solving, memory))


if __name__ == "__main__":
    main()
