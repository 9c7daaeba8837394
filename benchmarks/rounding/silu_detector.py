"""AP50 of a detector with SiLU and weights of few bits, in onnxruntime.

The network is that of `benchmarks.late_norms`: trained briefly on pictures that are put together
from CIFAR-10, quantized with 128 others, and judged by 1,000. A seed draws the positions in the
pictures that the solver sees. `mixed` weights have bits of their own in each layer, which
`search_bits` chooses for that average.
"""

import argparse
import tempfile
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

import tersor
from benchmarks.harness.table import Table, progress
from benchmarks.late_norms.tasks import TASKS, Task
from tersor.core.metrics import sqnr
from tersor.export.sessions.runtime import Runtime
from tersor.quant.fast_rounding import Rounding

_BATCH = 20
_UNIFORM, _MIXED = (8, 4), (4.0, 4.5)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1000, metavar="N", help="to test with")
    parser.add_argument("--epochs", type=int, default=10, metavar="N", help="of the training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bits", action="store_true", help="print the bits of each layer, too")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    task = TASKS["detector"](args.epochs, args.pictures)
    with torch.no_grad():
        reference = torch.cat([task.model(part) for part in task.test.split(_BATCH)])
    table = Table(args, "weights", "seed", "AP50", "lost", "SQNR dB", "CPU s")
    best = task.score(reference.numpy())
    table.add("float", "–", f"{best:.2f}", "–", "–", "–", score=best)
    for seed in range(args.seeds):
        options = tersor.WithData(rounding=Rounding(seed=seed))
        given: dict[str, Any] = {"data": task.samples, "options": options}
        for bits in _UNIFORM:
            _measure(task, reference, table, f"{bits}", seed, bits, given)
        start = process_time()
        found = tersor.search_bits(task.model, average=_MIXED[0], **given)
        spent = process_time() - start
        for average in _MIXED:
            bits = found.within(average=average)
            if args.bits:
                print(bits.table())
            _measure(task, reference, table, f"{average:g} mixed", seed, bits, given, spent)


def _measure(
    task: Task,
    reference: torch.Tensor,
    table: Table,
    name: str,
    seed: int,
    bits: Any,
    given: dict[str, Any],
    spent: float = 0.0,
) -> None:
    progress(name, "seed", seed)
    start = process_time()
    weights = None if bits == 8 else bits  # the default command
    quantized = tersor.quantize(task.model, weights=weights, **given)
    spent += process_time() - start
    with tempfile.TemporaryDirectory() as folder:
        file = Runtime(quantized.export(Path(folder) / "rounded.onnx").path)
        parts = (file(part)[file.outputs[0]] for part in task.test.split(_BATCH))
        outputs = np.concatenate(list(parts))
    score, best = task.score(outputs), task.score(reference.numpy())
    noise = sqnr(reference, torch.from_numpy(outputs))
    cells = f"{score:.2f}", f"{best - score:.2f}", f"{noise:.1f}", f"{spent:.0f}"
    table.add(name, str(seed), *cells, weights=name, seed=seed, score=score, sqnr=noise)


if __name__ == "__main__":
    main()
