"""What is exported is integer: kernels, file size and latency, beside onnxruntime's own quantizer.

Three files of each network run in turns: float, ours (default scheme, no data), and the output of
onnxruntime's `quantize_static`, calibrated on 32 of the images. Latency is that of one image;
ratios are medians over rounds in which each file runs once.
"""

from pathlib import Path
from statistics import median

from benchmarks.harness import Subject, Table, arguments, progress, subjects
from benchmarks.harness.peer import quantize_with_onnxruntime
from tersor.export.kernels import Kernel, kernels
from tersor.export.onnx.writer import export_onnx
from tersor.export.sessions.latency import CALM, in_turns
from tersor.export.sessions.runtime import Runtime
from tersor.quant.schemes import ONNXRUNTIME_CPU

CALIBRATION = 32
FLOAT, OURS, PEER = "float", "ours", "quantize_static"


def main() -> None:
    """Print the table: three rows per network."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="default: 100")
    args = parser.parse_args()
    settings = [1, None] if args.threads is None else [args.threads]
    titles = ["network", "file", "integer layers", "MB", "× float", "top-1"]
    for threads in settings:
        titles += [f"ms, {_threads(threads)}", "× float", "× quantize_static"]
    table = Table(args, *titles)
    for subject in subjects(args):
        progress(subject.name, "files")
        files = make_files(subject)
        times = {_threads(n): latencies(subject, files, n, args.rounds) for n in settings}
        progress(subject.name, "accuracy")
        for name, path in files.items():
            figures = {
                **_describe(subject, path),
                "latency": {n: t[name] for n, t in times.items()},
            }
            cells = _cells(figures, files[FLOAT].stat().st_size)
            table.add(subject.name, name, *cells, network=subject.name, file=name, **figures)


def make_files(subject: Subject) -> dict[str, Path]:
    """The float file, ours, and that of onnxruntime's quantizer."""
    paths = {name: subject.folder / f"{name}.onnx" for name in (FLOAT, OURS, PEER)}
    export_onnx(subject.network, paths[FLOAT])
    subject.quantize(ONNXRUNTIME_CPU).export(paths[OURS])
    images = subject.images
    chosen = images[:: max(1, len(images) // CALIBRATION)][:CALIBRATION]
    quantize_with_onnxruntime(paths[FLOAT], paths[PEER], chosen)
    return paths


def latencies(
    subject: Subject, files: dict[str, Path], threads: int | None, rounds: int
) -> dict[str, dict[str, float]]:
    """File → milliseconds, and ratios to the float file and to that of onnxruntime's quantizer."""
    progress(subject.name, "latency,", _threads(threads))
    runs = []
    for path in files.values():
        runtime = Runtime(path, config=CALM, threads=threads)
        runs.append((runtime, runtime.feed(subject.images[:1])))
    series = dict(zip(files, zip(*in_turns(runs, rounds), strict=True), strict=True))

    def ratio(name: str, other: str) -> float:
        return median(a / b for a, b in zip(series[name], series[other], strict=True))

    return {
        name: {"ms": 1e3 * median(times), "float": ratio(name, FLOAT), "peer": ratio(name, PEER)}
        for name, times in series.items()
    }


def _describe(subject: Subject, path: Path) -> dict[str, object]:
    layers: list[Kernel] = kernels(path)
    return {
        "layers": len(layers),
        "in float": {layer.layer: layer.reason for layer in layers if not layer.is_integer},
        "bytes": path.stat().st_size,
        "images": len(subject.images),
        "top1": subject.top1(path),
    }


def _cells(figures: dict, float_bytes: int) -> list[str]:
    count, size = figures["layers"], figures["bytes"]
    cells = [f"{count - len(figures['in float'])} of {count}"]
    cells += [f"{size / 1e6:.2f}", f"{size / float_bytes:.2f}", f"{figures['top1']:.2f}"]
    for time in figures["latency"].values():
        cells += [f"{time['ms']:.3f}", f"{time['float']:.2f}", f"{time['peer']:.2f}"]
    return cells


def _threads(threads: int | None) -> str:
    return {None: "default threads", 1: "1 thread"}.get(threads, f"{threads} threads")


if __name__ == "__main__":
    main()
