"""Spearman's correlation of all-MiniLM-L6-v2 with weights of few bits, in onnxruntime.

Sentences of a set that is not measured (2015.answers-forums) calibrate, in batches of 16.
"""

import argparse
import tempfile
from pathlib import Path

import torch

import tersor
from benchmarks.harness.table import Table, progress
from benchmarks.minilm import EXAMPLE, encoder
from benchmarks.rounding.accuracy import SOLVERS
from benchmarks.zoo.sentences import PUBLISHED, calibration, minilm, spearman, tokenize
from tersor.export.onnx.writer import export_onnx
from tersor.export.sessions.runtime import Runtime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", nargs="+", type=int, default=[8, 4])
    parser.add_argument("--activations", nargs="+", type=int, default=[8, 16])
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=["nearest", "fast"])
    parser.add_argument("--sentences", type=int, default=256)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    titles = ("weights", "activations", "solver", *PUBLISHED, "largest drop")
    table = Table(args, *titles)
    data, model = calibration(args.sentences), minilm()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        exact: dict[str, float] = {}
        export_onnx(tersor.quantize(model, tokenize(EXAMPLE)).original, path)
        exact = add(table, ("float", "float", "–"), path, exact)
        for bits in args.weights:
            for activations in args.activations:
                for solver in args.solvers:
                    progress(bits, activations, solver)
                    quantized = tersor.quantize(
                        model,
                        tokenize(EXAMPLE),
                        data=data,
                        weights=bits,
                        activations=activations,
                        options=tersor.WithData(rounding=SOLVERS[solver]),
                    )
                    quantized.export(path)
                    add(table, (str(bits), str(activations), solver), path, exact)


def add(
    table: Table, what: tuple[str, str, str], path: Path, exact: dict[str, float]
) -> dict[str, float]:
    """Measure one file and print its row; returns its correlations."""
    runtime = Runtime(path)
    found = {name: spearman(encoder(runtime), name) for name in PUBLISHED}
    drop = max((exact[name] - found[name] for name in exact), default=0.0)
    table.add(*what, *(f"{x:.4f}" for x in found.values()), f"{drop:.4f}", what=what, found=found)
    return found


if __name__ == "__main__":
    main()
