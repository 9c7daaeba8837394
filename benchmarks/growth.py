"""How memory and time of quantization with data grow with images, layers and width.

    python -m benchmarks.growth

A chain of 3×3 convolutions with ReLU on pictures, in 4 bits, so that every picture counts.
Each row is measured in a process of its own, on one thread. Memory is what its peak exceeds that of
the process when `quantize` starts, pictures included there. The last column is the exponent of the
growth of time from the row above: 1 is linear. `--plot docs/growth.svg` draws all rows.
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

#: What grows → (images, layers, width, pixels of a side) of each row.
ROWS: dict[str, list[tuple[int, int, int, int]]] = {
    "images": [(32, 6, 16, 64), (64, 6, 16, 64), (128, 6, 16, 64), (256, 6, 16, 64)],
    "large images": [(4, 6, 16, 320), (8, 6, 16, 320), (16, 6, 16, 320), (32, 6, 16, 320)],
    "layers": [(64, 4, 16, 64), (64, 8, 16, 64), (64, 16, 16, 64), (64, 32, 16, 64)],
    "width": [(64, 4, 8, 64), (64, 4, 16, 64), (64, 4, 32, 64), (64, 4, 64, 64)],
}
#: The plot: pixels for each doubling, and where 1× is.
_UNIT, _LEFT, _BOTTOM = 90, 50, 400
_COLORS = ("#1f77b4", "#9467bd", "#2ca02c", "#d62728")


def run(images: int, depth: int, width: int, pixels: int, memory: str | None, results: Any) -> None:
    """Quantize one network, and put the figures into a queue.

    Args:
        images: How many pictures.
        depth: How many layers.
        width: Their channels.
        pixels: Height and width of a picture.
        memory: As for `tersor.quantize`.
        results: The queue.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = [3, *[width] * depth]
    pairs = itertools.pairwise(sizes)
    parts = [part for a, b in pairs for part in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU())]
    model = nn.Sequential(*parts).eval()
    x = torch.rand(images, 3, pixels, pixels)
    tersor.quantize(model, data=x[:8, :, :64, :64], weights=4)  # what is loaded once
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
    parser.add_argument("--plot", type=Path, metavar="FILE", help="an SVG file to write")
    args = parser.parse_args()
    times: dict[str, list[float]] = {}
    columns = ("images", "layers", "width", "pixels", "MB", "CPU s", "exponent")
    table = Table(args, "what grows", *columns)
    for name in args.grow:
        last = None
        for sizes in ROWS[name]:
            memory, seconds = alone(run, *sizes, args.memory)
            exponent = "–" if last is None else f"{math.log2(seconds / last):.1f}"
            cells = (f"{memory:.0f}", f"{seconds:.1f}", exponent)
            table.add(name, *map(str, sizes), *cells, figures=(memory, seconds))
            last = seconds
            times.setdefault(name, []).append(seconds)
    if args.plot:
        args.plot.write_text(drawn(times), encoding="utf-8")


def drawn(times: dict[str, list[float]]) -> str:
    """Draw how often the time of the first row each row takes, both axes logarithmic, as SVG.

    Args:
        times: What grows → seconds of its rows, each twice as large as the one before.
    """
    most = max(len(found) for found in times.values()) - 1
    lines = [_line([2.0**k for k in range(most + 1)], "linear", "#999", "4 4")]
    for (name, found), color in zip(times.items(), _COLORS, strict=False):
        lines.append(_line([x / found[0] for x in found], name, color))
    marks = [
        f'<text x="{_LEFT + _UNIT * k}" y="{_BOTTOM + 20}" text-anchor="middle">{2**k}×</text>'
        f'<text x="{_LEFT - 10}" y="{_BOTTOM - _UNIT * k + 4}" text-anchor="end">{2**k}×</text>'
        f'<path d="M{_LEFT} {_BOTTOM - _UNIT * k}h{_UNIT * most}" stroke="#ddd"/>'
        for k in range(most + 1)
    ]
    box = f'viewBox="0 0 {_LEFT + _UNIT * most + 90} {_BOTTOM + 50}"'
    title = (
        f'<text x="{_LEFT}" y="{_BOTTOM + 42}">CPU seconds, by how much larger the job is</text>'
    )
    style = 'font-family="sans-serif" font-size="13" style="background:#fff"'
    content = "\n".join([*marks, *lines, title])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box} {style}>\n{content}\n</svg>\n'


def _line(factors: list[float], name: str, color: str, dashes: str = "") -> str:
    points = [(_LEFT + _UNIT * k, _BOTTOM - _UNIT * math.log2(x)) for k, x in enumerate(factors)]
    path = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
    x, y = points[-1]
    stroke = f'stroke="{color}" stroke-width="2" stroke-dasharray="{dashes}"'
    label = f'<text x="{x + 8:.0f}" y="{y + 4:.0f}" fill="{color}">{name}</text>'
    return f'<polyline points="{path}" fill="none" {stroke}/>{label}'


if __name__ == "__main__":
    main()
