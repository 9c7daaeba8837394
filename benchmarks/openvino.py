"""OpenVINO beside onnxruntime on the same quantized models: accuracy, agreement and speed.

Each network is quantized once for onnxruntime and once for OpenVINO, without data, and every file
runs in both. Agreement and SQNR are those of runtime and simulation. The last column is the latency
of one image over that of the float file in the same runtime: a median over rounds in which all
files run in turns, on one thread unless `--threads` says otherwise.

    pip install -e ".[openvino]"

`ONEDNN_MAX_CPU_ISA=AVX2` in the environment shows OpenVINO's kernels of CPUs without VNNI.
"""

import argparse
from pathlib import Path
from statistics import median

import torch

from benchmarks.harness import Subject, Table, arguments, progress, subjects
from tersor.export.kernels import kernels, openvino_kernels
from tersor.export.onnx.writer import export_onnx
from tersor.export.proof.tally import Comparison, Tally
from tersor.export.sessions.latency import CALM, in_turns
from tersor.export.sessions.openvino import OpenVINORuntime
from tersor.export.sessions.runtime import Runtime
from tersor.quant.schemes import ONNXRUNTIME_CPU, ONNXRUNTIME_VNNI, OPENVINO_CPU
from tersor.results.quantized import Quantized

NETWORKS = ["resnet20", "resnet56", "shufflenetv2_x0_5", "efficientnet_lite0"]
SCHEMES = (ONNXRUNTIME_CPU, OPENVINO_CPU, ONNXRUNTIME_VNNI)
RUNTIMES = {"onnxruntime": Runtime, "OpenVINO": OpenVINORuntime}
FLOAT = "float"


def main() -> None:
    """Print the table: one row per network, file and runtime."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=50, metavar="N", help="default: 50")
    parser.set_defaults(models=NETWORKS, threads=1)
    args = parser.parse_args()
    titles = ("network", "images", "file", "runtime", "integer layers", "top-1")
    table = Table(args, *titles, "agreement %", "SQNR dB", "ms", "× float")
    for subject in subjects(args):
        for row in measure(subject, args):
            table.add(*_cells(row), **row)


def measure(subject: Subject, args: argparse.Namespace) -> list[dict]:
    """One row per file and runtime."""
    path = subject.folder / "float.onnx"
    files: dict[str, tuple[Path, Quantized | None]] = {FLOAT: (path, None)}
    export_onnx(subject.network, path)
    for scheme in SCHEMES:
        quantized = subject.quantize(scheme)
        written = quantized.export(subject.folder / f"{scheme.name}.onnx").path
        files[scheme.name] = (written, quantized)
    times = latencies(subject, {name: path for name, (path, _) in files.items()}, args)
    rows = []
    for name, (path, quantized) in files.items():
        progress(subject.name, name)
        for runtime, figures in accuracy(subject, path, quantized).items():
            row = {"network": subject.name, "images": len(subject.images), "file": name}
            rows.append({**row, "runtime": runtime, **figures, **times[runtime, name]})
    return rows


def accuracy(subject: Subject, path: Path, quantized: Quantized | None) -> dict[str, dict]:
    """Runtime → top-1 in percent, and agreement and SQNR against the simulation."""
    found = {}
    batches = subject.images.split(subject.batch_size)
    simulated = None
    if quantized is not None:
        with torch.inference_mode():
            simulated = [quantized.network(batch) for batch in batches]
    for name, load in RUNTIMES.items():
        runtime = load(path, threads=subject.threads)
        outputs = [torch.from_numpy(runtime(x)[runtime.outputs[0]].copy()) for x in batches]
        layers = kernels(path) if load is Runtime else openvino_kernels(path)
        right = (torch.cat(outputs).argmax(1) == subject.labels).double().mean()
        compared = None if simulated is None else _compare(simulated, outputs)
        found[name] = {
            "layers": len(layers),
            "integer": sum(layer.is_integer for layer in layers),
            "top1": 100 * float(right),
            "agreement": compared and 100 * (compared.top1 or 0.0),
            "sqnr": compared and compared.sqnr,
        }
    return found


def latencies(
    subject: Subject, files: dict[str, Path], args: argparse.Namespace
) -> dict[tuple[str, str], dict[str, float]]:
    """(runtime, file) → milliseconds, and the ratio to the float file in the same runtime."""
    progress(subject.name, "latency")
    found = {}
    for name, load in RUNTIMES.items():
        loaded = [load(path, config=CALM, threads=subject.threads) for path in files.values()]
        runs = [(runtime, runtime.feed(subject.images[:1])) for runtime in loaded]
        series = dict(zip(files, zip(*in_turns(runs, args.rounds), strict=True), strict=True))
        for file, times in series.items():
            ratios = (a / b for a, b in zip(times, series[FLOAT], strict=True))
            found[name, file] = {"ms": 1e3 * median(times), "ratio": median(ratios)}
    return found


def _compare(wanted: list[torch.Tensor], given: list[torch.Tensor]) -> Comparison:
    tally = Tally()
    for first, second in zip(wanted, given, strict=True):
        tally.add(first.numpy(), second.numpy())
    return tally.comparison()


def _cells(row: dict) -> list[str]:
    cells = [row["network"], f"{row['images']:,}", row["file"], row["runtime"]]
    cells += [f"{row['integer']} of {row['layers']}", f"{row['top1']:.2f}"]
    cells += ["" if row[key] is None else f"{row[key]:.2f}" for key in ("agreement", "sqnr")]
    return [*cells, f"{row['ms']:.3f}", f"{row['ratio']:.2f}"]


if __name__ == "__main__":
    main()
