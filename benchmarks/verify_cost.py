"""What verification costs: CPU seconds by step, and the memory that it takes beside the results.

    pip install efficientnet-lite-pytorch transformers
    python -m benchmarks.verify_cost

EfficientNet-Lite1 with 500 parts of photographs and ViT-B/16 with 32 of them, both with random
weights, quantized with two of them. Each row has a process and one core of its own. MB are those
that the peak of the process exceeds what it holds before; beside it stand those of the weights of
the float model and of the inputs, which are in memory.
"""

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import torch
from torch import nn

import tersor
from benchmarks.export_cost import vit
from benchmarks.harness import Table, alone, progress
from tersor.data.pictures.photographs import photographs

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_BATCH = 4


class Subject(NamedTuple):
    """A network, and how many samples of what size it is verified on."""

    make: Callable[[], nn.Module]
    samples: int
    size: int


def lite1() -> nn.Module:
    """EfficientNet-Lite1 with random weights."""
    from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]

    torch.manual_seed(0)
    return EfficientNet.from_name("efficientnet-lite1").eval()


SUBJECTS = {
    "EfficientNet-Lite1": Subject(lite1, 500, 240),
    "ViT-B/16": Subject(vit, 32, 224),
}


def run(name: str, results: Any) -> None:
    """Verify one network, and put the figures into a queue."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # onnxruntime then takes one thread
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    subject = SUBJECTS[name]
    model, x = subject.make(), pictures(subject)
    weights = sum(part.nbytes for part in model.state_dict().values())
    quantized = tersor.quantize(model, x[:2])
    del model
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantized.export(path)
        _CLEAR.write_text("5")  # forget the peak
        before, marks = _megabytes("VmRSS"), list[float]()
        found = quantized.verify(path, x, on_step=lambda _: marks.append(process_time()))
        marks.append(process_time())
        peak = _megabytes("VmHWM") - before
    steps = [after - before for before, after in pairwise(marks)]
    results.put((steps, peak, (weights + x.nbytes) / 1e6, found.closely))


def pictures(subject: Subject) -> torch.Tensor:
    """Parts of photographs, around 0."""
    x = torch.empty(subject.samples, 3, subject.size, subject.size)
    for start in range(0, len(x), _BATCH):
        part = x[start : start + _BATCH]
        found = photographs(len(part), *part.shape[1:], seed=start)
        if found is None:
            raise SystemExit("scikit-image and Pillow are needed: pip install scikit-image pillow")
        part.copy_(2 * found - 1)
    return x


def _megabytes(key: str) -> float:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(key))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    steps = ("float file, CPU s", "comparison", "timing", "kernels", "together")
    columns = ("network", "samples", "in all models", *steps)
    table = Table(args, *columns, "peak, MB more", "weights and inputs, MB")
    for name in args.networks:
        progress(name)
        seconds, peak, size, closely = alone(run, name)
        shown = [f"{x:.1f}" for x in (*seconds, sum(seconds))]
        counts = [str(x) for x in (SUBJECTS[name].samples, closely)]
        figures = (seconds, peak, size, closely)
        table.add(name, *counts, *shown, f"{peak:.0f}", f"{size:.0f}", figures=figures)


if __name__ == "__main__":
    main()
