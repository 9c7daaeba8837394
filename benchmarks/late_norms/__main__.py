"""What quantizing without data costs where BatchNorms sit behind concatenations and sums.

Two networks are trained briefly on pictures that are put together from CIFAR-10: a segmenter of
dilated branches, and a detector with SiLU and joined paths. FastestDet comes with its weights, and
is judged on COCO. `guessed` counts the ranges that random inputs had to tell, as no statistics
reach them. Files are judged in onnxruntime, on pictures of other images.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import tersor
from benchmarks.harness.table import Table, progress
from benchmarks.late_norms.tasks import TASKS, Task
from tersor.core.metrics import sqnr
from tersor.export.sessions.runtime import Runtime

_BATCH = 20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--pictures", type=int, default=1000, metavar="N", help="to test with")
    parser.add_argument("--epochs", type=int, default=10, metavar="N", help="of the training")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    table = Table(args, "network", "file", "score", "lost", "SQNR dB", "guessed")
    for name in args.networks:
        _measure(name, TASKS[name](args.epochs, args.pictures), table)


def _measure(name: str, task: Task, table: Table) -> None:
    example, reference = task.test[:2], _float(task.model, task.test)
    best = task.score(reference)
    table.add(name, "float", f"{best:.2f} {task.measure}", "–", "–", "–", score=best)
    results: dict[str, tersor.Quantized] = {
        "int8, no data": tersor.quantize(task.model, example, input_range=task.input_range),
        "int8, data": tersor.quantize(task.model, example, data=task.samples, tolerance=None),
    }
    for kind, quantized in results.items():
        progress(name, kind)
        with tempfile.TemporaryDirectory() as folder:
            found = _run(quantized.export(Path(folder) / "int8.onnx").path, task.test)
        score, noise = task.score(found), sqnr(*map(torch.from_numpy, (reference, found)))
        ranges = [record for record in quantized.records if record.step == "calibrate"]
        guessed = sum("guessed" in getattr(record, "what", "") for record in ranges)
        table.add(
            name,
            kind,
            f"{score:.2f} {task.measure}",
            f"{best - score:.2f}",
            f"{noise:.1f}",
            f"{guessed} of {len(ranges)}",
            score=score,
            sqnr=noise,
            guessed=guessed,
        )


def _float(model: nn.Module, pixels: Tensor) -> np.ndarray:
    with torch.no_grad():
        return torch.cat([model(part) for part in pixels.split(_BATCH)]).numpy()


def _run(path: Path, pixels: Tensor) -> np.ndarray:
    file = Runtime(path)
    return np.concatenate([file(part)[file.outputs[0]] for part in pixels.split(_BATCH)])


if __name__ == "__main__":
    main()
