"""AP50 of a detector that comes as an ONNX file: float, and int8 without data, in onnxruntime.

FastestDet is read from its file, quantized with nothing but the range of its pixels, and written as
an ONNX file again. Both files run on 128 images of COCO val2017.
"""

import argparse
import tempfile
from pathlib import Path

import tersor
from benchmarks.harness.table import Table, progress
from benchmarks.zoo.data import asset
from benchmarks.zoo.detection import Photograph, average_precision, coco128, detections
from tersor.export.sessions.runtime import Config, Runtime

SCHEMES = ("onnxruntime-cpu", "onnxruntime-vnni", "dfq-paper")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--schemes", nargs="+", default=SCHEMES, choices=SCHEMES, metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    photographs = coco128()[: args.limit]
    original = asset("weights/FastestDet.onnx")
    table = Table(args, "file", "images", "AP50", "MB")
    add(table, "float, as it came", original, photographs)
    model, example = tersor.load(original)
    with tempfile.TemporaryDirectory() as folder:
        for scheme in args.schemes:
            progress(scheme)
            quantized = tersor.quantize(model, example, scheme=scheme, input_range=(0.0, 1.0))
            path = quantized.export(Path(folder) / "int8.onnx").path
            add(table, f"int8, {scheme}", path, photographs, quantized.scheme.session)


def add(
    table: Table, name: str, path: Path, photographs: list[Photograph], config: Config = ()
) -> None:
    """Measure one file and print its row."""
    precision = ap50(path, photographs, config)
    size = path.stat().st_size / 1e6
    table.add(
        name,
        str(len(photographs)),
        f"{precision:.1f}",
        f"{size:.2f}",
        file=name,
        images=len(photographs),
        ap50=precision,
        bytes=path.stat().st_size,
    )


def ap50(path: Path, photographs: list[Photograph], config: Config = ()) -> float:
    """The average precision of one file at an overlap of 0.5."""
    runtime = Runtime(path, config=config)
    outputs = (runtime(photo.pixels)[runtime.outputs[0]][0] for photo in photographs)
    found = [
        detections(output, photo.size) for output, photo in zip(outputs, photographs, strict=True)
    ]
    return average_precision(found, photographs)


if __name__ == "__main__":
    main()
