"""Times of single layers in XNNPACK: int8 programs of ExecuTorch beside float ones, one thread.

pip install -e ".[executorch]"
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

import tersor
from benchmarks.harness.table import Table, progress
from tersor.export.executorch.loaded import ExecuTorchRuntime
from tersor.export.executorch.program import export_pte
from tersor.frontend.capture import capture

ROUNDS = 60
IN_A_ROW = 4  # so that the conversions at both ends count little
# name: channels, size of the kernel, groups, size of the picture
SQUARE = {
    "depthwise 3×3, 32 × 112×112": (32, 3, 32, 112),
    "depthwise 3×3, 144 × 56×56": (144, 3, 144, 56),
    "depthwise 5×5, 480 × 14×14": (480, 5, 480, 14),
    "depthwise 5×5, 1152 × 7×7": (1152, 5, 1152, 7),
    "1×1, 64 × 56×56": (64, 1, 1, 56),
    "1×1, 320 × 14×14": (320, 1, 1, 14),
    "1×1, 768 × 7×7": (768, 1, 1, 7),
    "3×3, 32 × 32×32": (32, 3, 1, 32),
}
# name: channels that are read, and returned, size of the picture
SINGLE = {
    "1×1, 16 to 96 × 112×112": (16, 96, 112),
    "1×1, 144 to 24 × 56×56": (144, 24, 56),
    "1×1, 320 to 1280 × 7×7": (320, 1280, 7),
}


def main() -> None:
    """Print the table: one row per layer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    table = Table(args, "layer", "float ms", "int8 ms", "ratio")
    for name, model, image in _layers():
        progress(name)
        before, after = _times(model.eval(), image)
        ratio = after / before
        cells = (name, f"{before:.3f}", f"{after:.3f}", f"{ratio:.2f}")
        table.add(*cells, layer=name, float=before, int8=after)


def _layers() -> Iterator[tuple[str, nn.Module, Tensor]]:
    for name, (channels, size, groups, side) in SQUARE.items():
        row = [
            nn.Sequential(
                nn.Conv2d(channels, channels, size, padding=size // 2, groups=groups), nn.ReLU6()
            )
            for _ in range(IN_A_ROW)
        ]
        yield name, nn.Sequential(*row), torch.randn(1, channels, side, side)
    for name, (read, returned, side) in SINGLE.items():
        yield name, nn.Conv2d(read, returned, 1), torch.randn(1, read, side, side)


def _times(model: nn.Module, image: Tensor) -> tuple[float, float]:
    """Milliseconds of the float program and of the int8 program, measured in turns."""
    options = tersor.WithData(rounding=None)
    images = image.repeat(8, 1, 1, 1)
    q = tersor.quantize(model, data=images, scheme="executorch-xnnpack", options=options)
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            export_pte(capture(model, image), Path(folder) / "float.pte").path,
            q.export(Path(folder) / "int8.pte").path,
        ]
        runtimes = [ExecuTorchRuntime(path, threads=1) for path in paths]
    found: tuple[list[float], list[float]] = [], []
    for _ in range(ROUNDS):
        for runtime, times in zip(runtimes, found, strict=True):
            start = time.perf_counter()
            runtime(image)
            times.append(1000 * (time.perf_counter() - start))
    return min(found[0]), min(found[1])


if __name__ == "__main__":
    main()
