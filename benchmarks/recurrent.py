"""Recurrent layers: the file that Tersor writes beside other forms of 8-bit weights.

- `DequantizeLinear`: the same integers, read as other layers read theirs.
- `DynamicQuantizeLSTM`: onnxruntime's `quantize_dynamic`, whose kernel rounds the inputs, too.
  There is one for LSTM only.

All files of a network run in turns, on one thread unless `--threads` says otherwise. The weights
are random; `silero-vad` is in the table if the package is installed.

    pip install silero-vad
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

import tersor
from benchmarks.harness.table import Table, progress
from tersor.core.metrics import sqnr
from tersor.export.onnx.writer import export_onnx
from tersor.export.sessions.latency import CALM, in_turns
from tersor.export.sessions.runtime import Runtime
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tersor.results.quantized import Quantized

FLOAT, OURS, PLAIN, DYNAMIC = "float", "Tersor", "DequantizeLinear", "DynamicQuantizeLSTM"
_SAMPLES = 32
Subject = tuple[Quantized, tuple[Tensor, ...]]


class Layer(nn.Module):
    """A recurrent layer whose last state is not asked for."""

    def __init__(self, kind: Callable[..., nn.Module], size: int, layers: int) -> None:
        super().__init__()
        self.rnn = kind(size, size, layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """All steps of the last layer."""
        return self.rnn(x)[0]


def layer(kind: Callable[..., nn.Module], size: int, layers: int, steps: int) -> Subject:
    """A quantized recurrent layer of random weights, and one sample."""
    x = torch.randn(_SAMPLES, steps, size)
    return tersor.quantize(Layer(kind, size, layers).eval(), x[:2], data=x), (x[:1],)


def silero() -> Subject:
    """The detector of speech at 16 kHz, and two samples."""
    found = find_spec("silero_vad")
    assert found is not None
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / "data" / "silero_vad.onnx"
    model, _ = tersor.load(path, fix={"sr": 16000})
    sample = 0.1 * torch.randn(2, 576), torch.zeros(2, 2, 128)
    return tersor.quantize(model, sample, data=[sample]), sample


NETWORKS: dict[str, Callable[[], Subject]] = {
    "LSTM 128, 1 step": partial(layer, nn.LSTM, 128, 1, 1),
    "LSTM 256, 2 layers, 32 steps": partial(layer, nn.LSTM, 256, 2, 32),
    "GRU 256, 2 layers, 1 step": partial(layer, nn.GRU, 256, 2, 1),
    "silero-vad, 2 samples": silero,
}


def main() -> None:
    """Print the table: one row per network and file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="default: 100")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    titles = "network", "file", "MB", "dB to float", "dB to simulation", "fastest ms", "median ms"
    table = Table(args, *titles, "× float")
    for name, make in NETWORKS.items():
        if make is not silero or find_spec("silero_vad"):
            progress(name)
            torch.manual_seed(0)
            for row in measure(*make(), args):
                table.add(name, *_cells(row), network=name, **row)


def measure(
    quantized: Quantized, x: tuple[Tensor, ...], args: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """One row per file."""
    with tempfile.TemporaryDirectory() as folder:
        files = written(quantized, Path(folder))
        runs = {
            name: Runtime(file, threads=args.threads, config=CALM) for name, file in files.items()
        }
        sizes = {name: file.stat().st_size for name, file in files.items()}
    arrays = [value.numpy() for value in x]
    fed = [(run, dict(zip(run.inputs, arrays, strict=True))) for run in runs.values()]
    outputs = {name: first(run, feed) for name, (run, feed) in zip(runs, fed, strict=True)}
    with torch.no_grad():
        found = quantized.network(*x)
    simulated = found if isinstance(found, Tensor) else found[0]
    seconds = dict(zip(runs, zip(*in_turns(fed, args.rounds), strict=True), strict=True))
    for name, times in seconds.items():
        yield {
            "file": name,
            "bytes": sizes[name],
            "float_db": None if name == FLOAT else sqnr(outputs[FLOAT], outputs[name]),
            "simulation_db": None if name == FLOAT else sqnr(simulated, outputs[name]),
            "fastest": 1e3 * min(times),
            "median": 1e3 * median(times),
            "ratio": median(a / b for a, b in zip(times, seconds[FLOAT], strict=True)),
        }


def first(run: Runtime, feed: dict[str, Any]) -> Tensor:
    """The first output."""
    return torch.from_numpy(run.run(feed)[run.outputs[0]].copy())


def written(quantized: Quantized, folder: Path) -> dict[str, Path]:
    """The files of a network."""
    files = {FLOAT: folder / "float.onnx", OURS: folder / "ours.onnx", PLAIN: folder / "plain.onnx"}
    export_onnx(quantized.original, files[FLOAT])
    quantized.export(files[OURS])
    scheme = replace(ONNXRUNTIME_CPU, cast_weights=False)
    export_onnx(quantized.network, files[PLAIN], scheme=scheme)
    if any(node.op_type == "LSTM" for node in onnx.load(files[FLOAT]).graph.node):
        files[DYNAMIC] = folder / "dynamic.onnx"
        kinds = {"op_types_to_quantize": ["LSTM"], "weight_type": QuantType.QInt8}
        folded = folder / "folded.onnx"
        quant_pre_process(files[FLOAT], folded, skip_symbolic_shape=True)
        quantize_dynamic(folded, files[DYNAMIC], per_channel=True, **kinds)
    return files


def _cells(row: dict[str, Any]) -> list[str]:
    noise = ["–" if row[x] is None else f"{row[x]:.0f}" for x in ("float_db", "simulation_db")]
    times = [f"{row[x]:.3f}" for x in ("fastest", "median")]
    return [row["file"], f"{row['bytes'] / 1e6:.2f}", *noise, *times, f"{row['ratio']:.2f}"]


if __name__ == "__main__":
    main()
