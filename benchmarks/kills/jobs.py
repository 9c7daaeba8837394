"""The jobs that are killed: each leaves a file, its records, and the folder of its run."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn

import tersor
from tersor.export.evidence.seal import changes
from tersor.export.executorch.mark import read_mark
from tersor.export.onnx import writer
from tersor.files import write_atomically
from tersor.frontend.capture import capture
from tersor.graph.network import Network
from tersor.quant.adaround import AdaRound

FILE, PROGRAM = "q.onnx", "q.pte"
_SMALL = 1000  # bytes from which a pair of files is written here


@cache
def network() -> tuple[Network, Tensor]:
    """Four layers, captured, and 16 samples."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()]
    layers += [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)]
    x = torch.randn(16, 3, 8, 8)
    return capture(nn.Sequential(*layers).eval(), x[:2]), x


def quantize(folder: Path) -> None:
    """Weights of four bits, rounded with data."""
    model, x = network()
    found = tersor.quantize(model, data=x, weights=4, folder=folder / "run", tolerance=None)
    _keep(found, folder)


def adaround(folder: Path) -> None:
    """The same by the method of the paper."""
    model, x = network()
    level = tersor.WithData(rounding=AdaRound(iterations=60))
    found = tersor.quantize(
        model, data=x, weights=4, options=level, folder=folder / "run", tolerance=None
    )
    _keep(found, folder)


def train(folder: Path) -> None:
    """Six bits, trained for a few epochs with a checkpoint after each fourth batch."""
    model, x = network()
    q = tersor.quantize(model, weights=4, input_range=(-3.0, 3.0))
    options = tersor.Training(epochs=4, checkpoint_every=4, log_every=3)
    _keep(tersor.train(q, list(x.split(4)), options=options, folder=folder / "run"), folder)


def compress(folder: Path) -> None:
    """To six tenths of the multiplications, by all methods."""
    model, x = network()
    _keep(tersor.compress(model, macs=0.6, data=x, folder=folder / "run"), folder)


@cache
def _two_results() -> tuple[tersor.Quantized, tersor.Quantized]:
    model, _ = network()
    ends = (-3.0, 3.0)
    first, second = (
        tersor.quantize(model, weights=b, activations=8, input_range=ends) for b in (8, 4)
    )
    return first, second


def export(folder: Path) -> None:
    """A file in the place of another."""
    _keep(_two_results()[1], folder)


def export_pair(folder: Path) -> None:
    """A file with its weights beside it, in the place of another such pair."""
    with patch.object(writer, "LARGEST_FILE", _SMALL):
        _keep(_two_results()[1], folder)


@cache
def _programs() -> tuple[tersor.Quantized, tersor.Quantized]:
    model, _ = network()
    first, second = (
        tersor.quantize(model, scheme="executorch-xnnpack", input_range=(-end, end))
        for end in (3.0, 2.0)
    )
    return first, second


def export_program(folder: Path) -> None:
    """A program for phones in the place of another."""
    _programs()[1].export(folder / PROGRAM)


def search_bits(folder: Path) -> None:
    """Bits of each layer; nothing is kept on the way."""
    model, x = network()
    found = tersor.search_bits(model, data=x, average=4.0)
    write_atomically(folder / "records.txt", repr(dict(found)).encode())


def verify(folder: Path) -> None:
    """A file compared with its float network; nothing is kept on the way."""
    _, x = network()
    checked = _two_results()[0].verify(folder / FILE, x, latency=False)
    write_atomically(folder / "records.txt", repr(checked.sqnr).encode())


def whole(path: Path) -> bool:
    """Whether a file is what was written.

    Args:
        path: The file.
    """
    if path.suffix == ".onnx":
        return changes(path) == []
    found = read_mark(path.read_bytes())
    return found is not None and not found[1]


def before(name: str, folder: Path) -> None:
    """What lies in the folder before the job begins.

    Args:
        name: The job.
        folder: Its folder.
    """
    if name == "export_program":
        _programs()[0].export(folder / PROGRAM)
    if name in ("export", "verify"):
        _two_results()[0].export(folder / FILE)
    if name == "export_pair":
        with patch.object(writer, "LARGEST_FILE", _SMALL):
            _two_results()[0].export(folder / FILE)


def _keep(result: tersor.Quantized | tersor.Compressed, folder: Path) -> None:
    result.export(folder / FILE)
    write_atomically(folder / "records.txt", repr(result.records).encode())


JOBS: dict[str, Callable[[Path], None]] = {
    job.__name__: job
    for job in (
        *(quantize, adaround, train, compress, export, export_pair),
        *(export_program, search_bits, verify),
    )
}
