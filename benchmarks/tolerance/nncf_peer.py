"""NNCF's accuracy control on FastestDet, with the samples and the bound of `benchmarks.tolerance`.

It runs in an environment of its own, which this script makes: NNCF, onnx and onnxruntime.
"""

import argparse
import resource
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

import tersor
from benchmarks.harness.environment import environment
from benchmarks.harness.table import Table, progress
from benchmarks.tolerance.networks import detector, latencies
from tersor.export.kernels import kernels

_PACKAGES = ("nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.32.0")
_CUTS = ("0", "1", "5")  # a score, a box and the classes are parts of the output
_HELD_BACK = 1 / 4
_INSIDE = Path(__file__).with_name("nncf_inside.py")


def main() -> None:
    """Print one row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bound", type=float, default=20.0, metavar="DB", help="default: 20")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="default: 15")
    parser.add_argument("--python", metavar="PATH", help="of an environment that has NNCF")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(args, "FastestDet", "bound", "dB", "integer layers", "time", "size", "CPU s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = args.python or environment(folder / "environment", _PACKAGES)
        subject = detector(folder)
        pixels = torch.cat(list(subject.learned)).numpy()
        kept = round(len(pixels) * (1 - _HELD_BACK))
        np.savez(folder / "samples.npz", learned=pixels[:kept], held=pixels[kept:])
        path, drop = folder / "nncf.onnx", 10 ** (-args.bound / 10)
        progress("NNCF")
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        words = [subject.floating, path, folder / "samples.npz", drop, *_CUTS]
        subprocess.run([python, str(_INSIDE), *map(str, words)], check=True)  # noqa: S603
        seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        proof = tersor.verify(subject.floating, path, subject.unseen, latency=False)
        worst = min(part.sqnr for output in proof.quantized.values() for part in output.parts)
        found = kernels(path)
        count = f"{sum(x.is_integer for x in found)} of {len(found)}"
        (time,) = latencies(subject, (path,), args.rounds)
        cells = [f"{args.bound:g}", f"{worst:.1f}", count, f"{time:.2f}"]
        cells += [f"{proof.size_ratio:.2f}", f"{seconds:.0f}"]
        raw = {"decibels": worst, "integer": count, "time": time, "size": proof.size_ratio}
        table.add("NNCF", *cells, bound=args.bound, seconds=seconds, **raw)


if __name__ == "__main__":
    main()
