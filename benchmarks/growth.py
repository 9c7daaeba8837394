"""How memory and time of quantization with data grow with images, layers and width.

    python -m benchmarks.growth

A chain of 3×3 convolutions with ReLU on pictures of 64×64, in 4 bits, so that every picture counts.
Each row is measured in a process of its own, on one thread. Memory is what its peak exceeds that of
the process when `quantize` starts, pictures included there. The last column is the exponent of the
growth of time from the row above: 1 is linear.
"""

import argparse
import itertools
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

import tersor
from benchmarks.harness import Table, alone, peak_megabytes

#: What grows → (images, layers, width) of each row.
ROWS: dict[str, list[tuple[int, int, int]]] = {
    "images": [(32, 6, 16), (64, 6, 16), (128, 6, 16), (256, 6, 16)],
    "layers": [(64, 4, 16), (64, 8, 16), (64, 16, 16), (64, 32, 16)],
    "width": [(64, 4, 8), (64, 4, 16), (64, 4, 32), (64, 4, 64)],
}


def run(images: int, depth: int, width: int, memory: str | None, results: Any) -> None:
    """Quantize one network, and put the figures into a queue.

    Args:
        images: How many pictures.
        depth: How many layers.
        width: Their channels.
        memory: As for `tersor.quantize`.
        results: The queue.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = [3, *[width] * depth]
    pairs = itertools.pairwise(sizes)
    parts = [part for a, b in pairs for part in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU())]
    model = nn.Sequential(*parts).eval()
    x = torch.rand(images, 3, 64, 64)
    tersor.quantize(model, data=x[:8], weights=4)  # what is loaded once
    before, start = peak_megabytes(), time.process_time()
    tersor.quantize(model, data=x, weights=4, memory=memory)
    results.put((peak_megabytes() - before, time.process_time() - start))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grow", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--memory", help="as for tersor quantize")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table = Table(args, "what grows", "images", "layers", "width", "MB", "CPU s", "exponent")
    for name in args.grow:
        last = None
        for sizes in ROWS[name]:
            memory, seconds = alone(run, *sizes, args.memory)
            exponent = "–" if last is None else f"{math.log2(seconds / last):.1f}"
            cells = (f"{memory:.0f}", f"{seconds:.1f}", exponent)
            table.add(name, *map(str, sizes), *cells, figures=(memory, seconds))
            last = seconds


if __name__ == "__main__":
    main()
