"""What activations of 16 bits cost in onnxruntime: the time of a file with them, beside float.

Every activation of the network has 16 bits, or 8; weights have 8. All files run in turns on one
thread.
"""

import argparse
import tempfile
from pathlib import Path

import torch

import tersor
from benchmarks.harness.table import Table, progress
from benchmarks.tolerance.networks import NETWORKS, latencies
from tersor.export.kernels import kernels


def main() -> None:
    """Print one row per width."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="FastestDet")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="default: 15")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(args, "network", "activations", "dB", "time × float", "integer layers")
    with tempfile.TemporaryDirectory() as folder:
        subject = NETWORKS[args.network](Path(folder))
        for bits in (8, 16):
            progress(bits)
            path = Path(folder) / f"{bits}.onnx"
            result = tersor.quantize(
                subject.model,
                subject.example,
                data=subject.learned,
                activations=bits,
                options=tersor.WithData(rounding=None),
            )
            result.export(path)
            proof = tersor.verify(subject.floating, path, subject.unseen, latency=False)
            worst = min(part.sqnr for output in proof.quantized.values() for part in output.parts)
            (time,) = latencies(subject, (path,), args.rounds)
            found = kernels(path)
            count = f"{sum(x.is_integer for x in found)} of {len(found)}"
            table.add(
                args.network,
                str(bits),
                f"{worst:.1f}",
                f"{time:.2f}",
                count,
                bits=bits,
                decibels=worst,
                time=time,
                integer=count,
            )


if __name__ == "__main__":
    main()
