"""Top-1 of data-free int8 files in onnxruntime: naive rounding, each step, all of it.

The `per-tensor` columns are the paper's setting, one scale per layer (scheme `dfq-paper`, run with
`session.x64quantprecision=1`, which is exact on every CPU): first with the steps as the paper has
them, then with Tersor's equalization, which counts activation ranges too. The last two columns are
the default scheme in a default session.
"""

from dataclasses import replace

from benchmarks.harness import DFQ, NAIVE, Table, arguments, progress, subjects
from tersor.export.onnx.writer import export_onnx
from tersor.quant.levels import PAPER

PER_TENSOR, DEFAULT = "dfq-paper", "onnxruntime-cpu"
_PAPER_EQUALIZE = replace(PAPER, absorb=None, correct_bias=False)

#: Title → scheme and steps.
COLUMNS = {
    "per-tensor: naive": (PER_TENSOR, NAIVE),
    "correct only": (PER_TENSOR, replace(NAIVE, correct_bias=True)),
    "paper: equalize": (PER_TENSOR, _PAPER_EQUALIZE),
    "+ absorb": (PER_TENSOR, replace(PAPER, correct_bias=False)),
    "+ correct": (PER_TENSOR, PAPER),
    "Tersor: equalize": (PER_TENSOR, replace(DFQ, correct_bias=False)),
    "+ correct = DFQ": (PER_TENSOR, DFQ),
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
