"""Programs of PyTorch, compiled by Inductor, beside the ONNX files of the same networks.

Each network is quantized with samples and written as a `.pt2` program and as an ONNX file, and both
run in their runtimes. Agreement and SQNR are those of runtime and simulation. Times are of one
image, over those of the float file in the same runtime: medians over rounds in which both run in
turns. `delegated` counts the layers that run on integers.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import tersor
from benchmarks.harness import Subject, arguments, progress
from benchmarks.phones import figures, print_rows
from tersor.export.by_name import export_file

ENDINGS = (".pt2", ".onnx")


def main() -> None:
    """Print the table: one row per network and file."""
    parser = arguments(__doc__)
    parser.add_argument("--samples", type=int, default=64, metavar="N", help="default: 64")
    print_rows(parser, measure)


def measure(subject: Subject, args: argparse.Namespace) -> Iterator[dict]:
    """One row per file; the images that are given are not measured."""
    samples, count = subject.images[-args.samples :], len(subject.images) - args.samples
    subject = replace(subject, images=subject.images[:count], labels=subject.labels[:count])
    quantized = tersor.quantize(subject.network, data=samples)
    for ending in ENDINGS:
        progress(subject.name, ending)
        path = export_file(subject.network, subject.folder / f"float{ending}").path
        yield figures(subject, f"float {ending}", path, None, path, args)
        written = quantized.export(subject.folder / f"int8{ending}").path
        yield figures(subject, f"int8 {ending}", written, quantized, path, args)


if __name__ == "__main__":
    main()
