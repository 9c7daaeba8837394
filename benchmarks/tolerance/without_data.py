"""Without data: what verification prints, and what the same file has on real inputs.

The printed figure is that of inputs that look like pictures; the real one that of photographs.
Within 3 dB, or a verdict of "look" that says why, is right.
"""

import argparse
import tempfile
from pathlib import Path

import torch

import tersor
from benchmarks.harness.table import Table, progress
from benchmarks.real_files.entries.ddddocr import DETECTOR
from benchmarks.tolerance.networks import Subject, detector, of_entry
from tersor.export.proof.verification import Verification


def main() -> None:
    """Print one row per network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(args, "network", "range", "printed", "verdict", "real")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        networks = {
            "FastestDet": (detector(folder), (0.0, 1.0)),
            "ddddocr det": (of_entry(DETECTOR, folder, 8), (0.0, 255.0)),
        }
        for title, (subject, ends) in networks.items():
            progress(title)
            row(table, title, subject, ends, folder / "int8.onnx")


def row(table: Table, title: str, subject: Subject, ends: tuple[float, float], path: Path) -> None:
    """Quantize a network without data, and measure it on both."""
    result = tersor.quantize(subject.model, subject.example, input_range=ends)
    result.export(path)
    printed = result.verify(path, latency=False)
    real = tersor.verify(subject.floating, path, subject.unseen, latency=False)
    figures = [worst(proof) for proof in (printed, real)]
    table.add(
        title,
        f"{ends[0]:g}…{ends[1]:g}",
        f"{figures[0]:.1f}",
        printed.verdict.grade,
        f"{figures[1]:.1f}",
        network=title,
        printed=figures[0],
        verdict=printed.verdict.as_dict(),
        real=figures[1],
    )


def worst(proof: Verification) -> float:
    """The decibels of the worst part."""
    return min(part.sqnr for output in proof.quantized.values() for part in output.parts)


if __name__ == "__main__":
    main()
