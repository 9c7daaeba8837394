"""Small networks that quantization makes larger or slower, or does not change."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

import tersor
from benchmarks.verdicts.case import Case
from tersor.data.outputs.verdict import Grade
from tersor.quant.schemes import ONNXRUNTIME_CPU


class Gated(nn.Module):
    """Filters of each channel by itself, and gates that have no integer kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.ModuleList(nn.Conv2d(64, 64, 3, 1, 1, groups=64) for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        """Run it."""
        for layer in self.filters:
            y = layer(x)
            x = x + y * y.sigmoid()
        return x.mean((2, 3))


class Recurrent(nn.Module):
    """An LSTM, which has no integer kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 64, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Run it."""
        return self.lstm(x)[0]


def small(folder: Path) -> Iterator[Case]:
    """What they are worth follows from how they are made; times and sizes are measured."""
    torch.manual_seed(0)
    images = torch.rand(64, 3, 32, 32)
    tiny = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    yield _case("two layers of 4", tiny, torch.randn(64, 4), "look", "larger", folder)
    planes = torch.randn(4, 64, 48, 48)
    slow = {"scheme": replace(ONNXRUNTIME_CPU, speed=None)}
    yield _case("gated filters", Gated().eval(), planes, "look", "slower", folder, **slow)
    sequences = torch.randn(64, 20, 16)
    yield _case("LSTM", Recurrent().eval(), sequences, "look", "nothing on integers", folder)
    layers = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3)).eval()
    few = {"weights": 4, "storage": "int4"}
    yield _case("two convolutions", layers, images, "look", "nothing on integers", folder, **few)


def _case(
    name: str,
    model: nn.Module,
    inputs: Tensor,
    truth: Grade,
    why: str,
    folder: Path,
    storage: str = "int8",
    **options: object,
) -> Case:
    path = folder / "small.onnx"
    quantized = tersor.quantize(model, inputs[:2], data=inputs, **options)
    quantized.export(path, storage=storage)
    way = "8 bits" if storage == "int8" else "4 bits, two weights to a byte"
    return Case(name, way, truth, why, quantized.verify(path, inputs))
