"""8-bit weights that no kernel saturates: what it costs in bits, speed, accuracy.

On CPUs without VNNI onnxruntime adds pairs of u8×s8 products in saturating 16 bits. Four ways to
choose 8-bit weights, each without data (nearest rounding) and with data (rounded on unlabelled
images; activation ranges are the same):

    full range     ignores it
    7 bits         the grid is [-64, 63]
    any two        of one output channel may meet: scale by the two largest weights
    those that do  only weights that do meet restrain each other, `tersor.graph.lanes`

`exact` is the file without integer kernels and `runtime` the file as users run it, both against
the simulation; `float` is the file as users run it against the float network. Time is that of one
image, relative to the full range without data. Run it as on a CPU without VNNI:

    python -m benchmarks.without_vnni benchmarks.saturation_free
"""

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

import torch

from benchmarks.harness import Subject, Table, arguments, progress, subjects
from benchmarks.harness.subject import spread
from benchmarks.zoo.data import cifar10_train
from tersor.api.quantize import Quantized
from tersor.export.sessions.latency import CALM, in_turns
from tersor.quant.fast_rounding import Rounding
from tersor.quant.rounding.layerwise import Setting
from tersor.quant.schemes import ONNXRUNTIME_CPU, ONNXRUNTIME_VNNI

NETWORKS = ("resnet20", "shufflenetv2_x0_5", "efficientnet_lite0")
CALIBRATION, BATCH = 256, 32

FULL = "full range"
WEIGHTS = {
    FULL: ONNXRUNTIME_VNNI,
    "7 bits": ONNXRUNTIME_VNNI.with_bits(7, None),
    "any two": replace(ONNXRUNTIME_CPU, pair_safe="any"),
    "those that do": ONNXRUNTIME_CPU,
}


@dataclass(frozen=True)
class File:
    """One quantized model, exported."""

    title: str
    with_data: bool
    quantized: Quantized
    path: str


def main() -> None:
    """Print the table: eight rows per network."""
    parser = arguments(__doc__)
    parser.set_defaults(models=NETWORKS)
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="default: 100")
    args = parser.parse_args()
    titles = ("network", "images", "weights", "data", "exact dB", "runtime dB", "float dB")
    table = Table(args, *titles, "top-1 simulation", "top-1 runtime", "time")
    for subject, calibration in _apart(args):
        files = list(_files(subject, calibration))
        progress(subject.name, "latency")
        times = _times(subject, files, args.rounds)
        for file in files:
            progress(subject.name, file.title, "with data" if file.with_data else "", "verify")
            figures = {**_verify(subject, file), "time": times[file.path]}
            cells = [f"{value:.2f}" for value in figures.values()]
            names = (subject.name, f"{len(subject.images):,}", file.title)
            data = f"{len(calibration)} images" if file.with_data else "none"
            raw = dict(zip(titles, (*names, data), strict=False), **figures)
            table.add(*names, data, *cells, **raw)


def _apart(args: Namespace) -> Iterator[tuple[Subject, torch.Tensor]]:
    """Every network with images to round on, which are not among those it is measured on."""
    for subject in subjects(args):
        if subject.images.shape[-1] == 32:
            pixels, labels = cifar10_train()
            inputs, _ = spread(
                subject.model.normalize(pixels), torch.as_tensor(labels), CALIBRATION
            )
            yield subject, inputs
            continue
        chosen = torch.arange(len(subject.images)) % 4 == 0  # there is one set only
        rest = replace(subject, images=subject.images[~chosen], labels=subject.labels[~chosen])
        yield rest, subject.images[chosen][:CALIBRATION]


def _files(subject: Subject, calibration: torch.Tensor) -> Iterator[File]:
    batches = [((batch,), {}) for batch in calibration.split(BATCH)]
    for with_data in (False, True):
        for title, scheme in WEIGHTS.items():
            progress(subject.name, title, "with data" if with_data else "")
            quantized = subject.quantize(scheme)
            if with_data:
                Rounding().round(quantized.network, batches, Setting(pair_safe=scheme.pair_safe))
            path = subject.folder / f"{title}-{with_data}.onnx"
            yield File(title, with_data, quantized, str(quantized.export(path).path))


def _verify(subject: Subject, file: File) -> dict[str, float]:
    images = iter(subject.images.split(subject.batch_size))
    found = file.quantized.verify(file.path, images, labels=subject.labels, latency=False)
    (exact,), (runtime,) = found.exported.values(), found.runtime.values()
    (floating,) = found.quantized.values()
    return {
        "exact": exact.sqnr,
        "runtime": runtime.sqnr,
        "float": floating.sqnr,
        "top-1 simulation": 100 * found.accuracy["simulation"],
        "top-1 runtime": 100 * found.accuracy["runtime"],
    }


def _times(subject: Subject, files: list[File], rounds: int) -> dict[str, float]:
    """Path → median over rounds of its time relative to the full range without data."""
    runs = []
    for file in files:
        runtime = replace(subject, threads=subject.threads or 1).runtime(file.path, CALM)
        runs.append((runtime, runtime.feed(subject.images[:1])))
    series = in_turns(runs, rounds)
    return {
        file.path: median(times[index] / times[0] for times in series)
        for index, file in enumerate(files)
    }


if __name__ == "__main__":
    main()
