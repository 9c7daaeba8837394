"""Is what the runtime computes rounding, or a fault? The exact simulation on real networks.

For each file, quantized without data: SQNR of the runtime against the simulation, which adds
floats, and against the exact simulation, which does the arithmetic of the integer kernels. The last
column is the share of the sums that saturate, in the worst layer: a fault of the kernels, and no
rounding.
Run it on this CPU, and once more as on a CPU without VNNI:

    python -m benchmarks.exact_simulation
    python -m benchmarks.without_vnni benchmarks.exact_simulation
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tersor
from benchmarks.harness import Table, arguments, progress, subjects
from benchmarks.minilm import EXAMPLE
from benchmarks.zoo import MODELS
from benchmarks.zoo.data import asset
from benchmarks.zoo.detection import coco128
from benchmarks.zoo.sentences import PUBLISHED, minilm, pairs, tokenize
from tersor.files import temporary_folder
from tersor.results.quantized import Quantized

PROGRAM, ROWS = "executorch-xnnpack", "executorch-dynamic"
SCHEMES = ("onnxruntime-cpu", "onnxruntime-vnni", PROGRAM)
SAMPLES = 64
LONGEST = {"axis_1": 128}  # tokens


@dataclass(frozen=True)
class Case:
    """A quantized network and what it is run on."""

    name: str
    quantized: Quantized
    inputs: Any
    largest: dict[str, int] | None = None


def main() -> None:
    """Print the table: one row per file."""
    args = arguments(__doc__).parse_args()
    titles = ("network", "samples", "scheme", "agreement %", "against simulation, dB")
    table = Table(
        args, *titles, "against exact simulation", "nodes computed", "others", "saturating"
    )
    for case in cases(args):
        progress(case.name, case.quantized.scheme.name)
        with temporary_folder() as folder:
            ending = ".pte" if case.quantized.scheme.name in (PROGRAM, ROWS) else ".onnx"
            path = case.quantized.export(folder / f"int8{ending}", largest=case.largest).path
            proof = case.quantized.verify(path, case.inputs, latency=False, exact=True)
        add(table, case, proof)


def cases(args: Any) -> Iterator[Case]:
    """All networks: those of the arguments, a detector and a transformer."""
    for subject in subjects(args, dict.fromkeys(MODELS, SAMPLES)):
        for scheme in SCHEMES:
            batches = list(subject.images.split(subject.batch_size))
            yield Case(subject.name, subject.quantize(scheme), batches)
    detector = asset("weights/FastestDet.onnx")
    pixels = [photograph.pixels for photograph in coco128()[:SAMPLES]]
    _, (tokens, mask), _ = pairs(next(iter(PUBLISHED)))
    sentences = tokens[:SAMPLES], mask[:SAMPLES]
    for scheme in SCHEMES:
        quantized = tersor.quantize(detector, scheme=scheme, input_range=(0.0, 1.0))
        yield Case("FastestDet", quantized, pixels)
    for scheme in (*SCHEMES, ROWS):
        encoder = tersor.quantize(minilm(), tokenize(EXAMPLE), scheme=scheme)
        yield Case("MiniLM", encoder, sentences, LONGEST if scheme in (PROGRAM, ROWS) else None)


def add(table: Table, case: Case, proof: Any) -> None:
    """Print one row."""
    found, scheme = proof.arithmetic, case.quantized.scheme.name
    exact = min(comparison.sqnr for comparison in found.outputs.values())
    saturated = max(found.saturated.values(), default=0.0)
    table.add(
        case.name,
        str(found.samples),
        scheme,
        "–" if proof.agreement is None else f"{100 * proof.agreement:.1f}",
        f"{proof.sqnr:.1f}",
        "every bit" if found.is_equal else f"{exact:.1f} dB",
        str(len(found.computed)),
        str(found.others + len(found.unknown)),
        f"{100 * saturated:.2g} %" if saturated else "–",
        network=case.name,
        scheme=scheme,
        **found.as_dict(),
    )


if __name__ == "__main__":
    main()
