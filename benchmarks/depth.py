"""Time and memory for very deep networks: chains of small layers, each with its ReLU.

    python -m benchmarks.depth --layers 100 1000 10000
    python -m benchmarks.depth --layers 100 200 400 --export

Times are of the CPU, so that other programs count little. Those in parentheses are the part that
`torch.export` and `torch.onnx.export` take. Each row is measured in a process of its own; memory is
its peak, libraries included. Layers come in blocks of 100, as the layers of real networks do:
`torch.export` takes time quadratic in the number of modules that one module holds.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

import tersor
from benchmarks.harness import Table, alone, peak_megabytes
from tersor.frontend.capture import capture

BLOCK = 100
CHANNELS = 8


def linear() -> list[nn.Module]:
    """A linear layer and a ReLU."""
    layer = nn.Linear(CHANNELS, CHANNELS)
    layer.weight.data, layer.bias.data = _mixing(), torch.zeros(CHANNELS)
    return [layer, nn.ReLU()]


def convolution() -> list[nn.Module]:
    """A convolution, a BatchNorm and a ReLU."""
    layer = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
    layer.weight.data.zero_()
    layer.weight.data[:, :, 1, 1] = _mixing()
    return [layer, nn.BatchNorm2d(CHANNELS), nn.ReLU()]


def _mixing() -> Tensor:
    """A matrix whose product with any number of others neither grows nor vanishes."""
    shuffled = torch.eye(CHANNELS)[torch.randperm(CHANNELS)] + 0.1 * torch.rand(CHANNELS, CHANNELS)
    return shuffled / shuffled.sum(1, keepdim=True)


KINDS: dict[str, tuple[Callable[[], list[nn.Module]], tuple[int, ...]]] = {
    "linear": (linear, (2, CHANNELS)),
    "convolution": (convolution, (2, CHANNELS, 4, 4)),
}


def chain(kind: str, layers: int) -> nn.Module:
    """A chain of `layers` layers in blocks.

    Args:
        kind: One of `KINDS`.
        layers: How many.
    """
    torch.manual_seed(0)
    make, _ = KINDS[kind]
    sizes = [min(BLOCK, layers - start) for start in range(0, layers, BLOCK)]
    blocks = [nn.Sequential(*[m for _ in range(size) for m in make()]) for size in sizes]
    return nn.Sequential(*blocks).eval()


class Clock:
    """CPU seconds, and those of them that PyTorch's exporters took."""

    def __init__(self) -> None:
        """Watch the exporters."""
        self.inside, self.start = 0.0, time.process_time()
        for owner, name in (
            (torch.export, "export"),
            (ExportedProgram, "module"),
            (torch.onnx, "export"),
        ):
            setattr(owner, name, self._watched(getattr(owner, name)))

    def _watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            start, before = time.process_time(), self.inside
            result = function(*args, **kwargs)
            self.inside = before + time.process_time() - start
            return result

        return watched

    def lap(self) -> tuple[float, float]:
        """Seconds since the last lap, in all and inside of the exporters."""
        total, inside = time.process_time() - self.start, self.inside
        self.inside, self.start = 0.0, time.process_time()
        return total, inside


def measure(kind: str, layers: int, exports: bool, results: Any) -> None:
    """Capture, quantize and perhaps export one chain, and put the figures into a queue.

    Args:
        kind: One of `KINDS`.
        layers: How many.
        exports: Whether to export it.
        results: The queue.
    """
    torch.set_num_threads(1)
    model, example = chain(kind, layers), torch.rand(KINDS[kind][1])
    clock = Clock()
    network = capture(model, example)
    laps = {"capture": clock.lap()}
    quantized = tersor.quantize(network, input_range=(0.0, 1.0))
    laps["quantize"] = clock.lap()
    if exports:
        with tempfile.TemporaryDirectory() as folder:
            quantized.export(Path(folder) / "deep.onnx")
        laps["export"] = clock.lap()
    results.put({"laps": laps, "megabytes": peak_megabytes()})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", nargs="+", type=int, default=[100, 1000, 10000])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--export", action="store_true", help="write the ONNX file as well")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table = Table(args, "layers", "kind", "capture, s", "quantize, s", "export, s", "peak, MB")
    for kind in args.kinds:
        for layers in args.layers:
            figures = alone(measure, kind, layers, args.export)
            laps = figures["laps"]
            cells = [_cell(*laps[step]) if step in laps else "" for step in STEPS]
            row = {"kind": kind, "layers": layers}
            table.add(f"{layers:,}", kind, *cells, f"{figures['megabytes']:.0f}", **row, **figures)


STEPS = ("capture", "quantize", "export")


def _cell(total: float, inside: float) -> str:
    return f"{total:.1f} ({inside:.1f})"


if __name__ == "__main__":
    main()
