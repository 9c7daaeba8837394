"""Top-1 of data-free int8 files in onnxruntime: naive rounding, each step of DFQ, all of it.

The first columns are the paper's setting, one scale per layer (scheme `dfq-paper`, run with
`session.x64quantprecision=1`, which is exact on every CPU). The last two are the default scheme in
a default session.
"""

from dataclasses import replace

from benchmarks.harness import DFQ, NAIVE, Table, arguments, progress, subjects
from tersor.export.onnx import export_onnx
from tersor.passes.absorb import Absorb
from tersor.passes.equalize import Equalize

EQUALIZED = replace(NAIVE, equalize=Equalize())
ABSORBED = replace(EQUALIZED, absorb=Absorb())
PAPER, DEFAULT = "dfq-paper", "onnxruntime-cpu"

#: Title → scheme and steps.
COLUMNS = {
    "per-tensor: naive": (PAPER, NAIVE),
    "+ equalize": (PAPER, EQUALIZED),
    "+ absorb": (PAPER, ABSORBED),
    "+ correct = DFQ": (PAPER, DFQ),
    "correct only": (PAPER, replace(NAIVE, correct_bias=True)),
    "default scheme: naive": (DEFAULT, NAIVE),
    "default scheme: DFQ": (DEFAULT, DFQ),
}


def main() -> None:
    """Print the table."""
    args = arguments(__doc__).parse_args()
    table = Table(args, "network", "images", "float", *COLUMNS)
    for subject in subjects(args):
        result = {
            "float": subject.top1(export_onnx(subject.network, subject.folder / "f.onnx").path)
        }
        for title, (scheme, options) in COLUMNS.items():
            progress(subject.name, title)
            result[title] = subject.quantized_top1(scheme, options)
        cells = (f"{value:.2f}" for value in result.values())
        images = len(subject.images)
        table.add(
            subject.name, f"{images:,}", *cells, network=subject.name, images=images, top1=result
        )


if __name__ == "__main__":
    main()
