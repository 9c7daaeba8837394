"""Whether quantization keeps to the least memory that it accepts, in three networks.

    python -m benchmarks.memory_bound

Each network is first given one megabyte, which is refused: the error names what is enough, and that
is given then. `MB held` is what the process has when it begins, with libraries, model and samples,
and the peak is that of the process from there on. Each row has a process of its own, and one
thread.
"""

import argparse
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import tersor
from benchmarks.harness import Table, alone, progress
from benchmarks.zoo import MODELS
from tersor.data.runs.memory import resident
from tersor.errors import InvalidInputError

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_SAMPLES, _WIDE = 64, 320


def zoo(name: str) -> tuple[nn.Module, Tensor]:
    """A network of the zoo with its pictures."""
    images, _ = MODELS[name].data()
    return MODELS[name].load(), images[:_SAMPLES].clone()


def wide() -> tuple[nn.Module, Tensor]:
    """A chain of convolutions on large pictures."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        parts += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*parts).eval(), torch.rand(_SAMPLES // 2, 3, _WIDE, _WIDE)


SUBJECTS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "resnet20": lambda: zoo("resnet20"),
    "efficientnet_lite0": lambda: zoo("efficientnet_lite0"),
    "four layers, 320 pixels": wide,
}


def run(name: str, results: Any) -> None:
    """Quantize one network, and put the figures into a queue."""
    torch.set_num_threads(1)
    model, x = SUBJECTS[name]()
    tersor.quantize(nn.Conv2d(3, 4, 3).eval(), data=x[:2, :, :16, :16])  # what is loaded once
    least(model, x)  # what the model loads once
    enough, held = least(model, x), resident() / 1e6
    _CLEAR.write_text("5")  # forget the peak
    start = time.process_time()
    tersor.quantize(model, data=x, memory=enough)
    lines = _STATUS.read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))
    results.put((held, float(enough[:-2]), peak, time.process_time() - start))


def least(model: nn.Module, x: Tensor) -> str:
    """The memory that the error names which refuses one megabyte."""
    try:
        tersor.quantize(model, data=x, memory="1MB")
    except InvalidInputError as error:
        found = re.search(r"give memory='(\d+MB)'", str(error))
        assert found is not None
        return found[1]
    raise SystemExit("one megabyte was enough, which cannot be")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table = Table(args, "network", "MB held", "memory=, MB", "peak, MB", "CPU s")
    for name in args.networks:
        progress(name)
        held, enough, peak, seconds = alone(run, name)
        shown = (f"{held:.0f}", f"{enough:.0f}", f"{peak:.0f}", f"{seconds:.1f}")
        table.add(name, *shown, figures=(held, enough, peak, seconds))


if __name__ == "__main__":
    main()
