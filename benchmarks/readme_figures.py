"""Every figure of the README, measured again: what is to be run before a release.

Networks are quantized anew and run in onnxruntime on all of their test data; compression has 512
unlabelled images. Ends with code 1 if a figure is further from the README than chance allows: 0.1
points of 10,000 images, 0.3 of 1,000, half a point of AP50, 0.0015 of Spearman's correlation, and
0.4 points after compression, whose images are drawn.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tersor
from benchmarks import minilm
from benchmarks.dfq_accuracy import COLUMNS
from benchmarks.fastest_detector import ap50
from benchmarks.harness import Table, arguments, progress, subjects
from benchmarks.training.task import TrainingTask
from benchmarks.zoo import sentences
from benchmarks.zoo.data import asset
from benchmarks.zoo.detection import coco128
from tersor.export.onnx.writer import export_onnx

README = Path(__file__).parents[1] / "README.md"
#: Row of the README → network.
NETWORKS = {
    "EfficientNet-Lite0": "efficientnet_lite0",
    "ShuffleNetV2 x0.5": "shufflenetv2_x0_5",
    "ResNet-20": "resnet20",
}
#: Column of the README → column of `benchmarks.dfq_accuracy`.
TITLES = {
    "naive int8, per tensor": "per-tensor: naive",
    "Tersor, per tensor": "+ correct = DFQ",
    "Tersor, default format": "default scheme: DFQ",
}
DEFAULT = "Tersor, default format"
IMAGES = 512


@dataclass(frozen=True)
class Figure:
    """What the README says, and what is measured.

    Attributes:
        name: The row, and the column.
        said: In the README.
        measured: Now.
        chance: By how much the two may differ.
    """

    name: tuple[str, str]
    said: float
    measured: float
    chance: float

    @property
    def holds(self) -> bool:
        """Whether the two agree."""
        return abs(self.said - self.measured) <= self.chance


def main() -> None:
    """Print the table: one row per figure."""
    parser = arguments(__doc__)
    parser.set_defaults(models=list(NETWORKS.values()))
    args = parser.parse_args()
    table = Table(args, "row", "column", "README", "measured", "holds")
    failed = 0
    for figure in figures(args):
        failed += not figure.holds
        cells = f"{figure.said:g}", f"{figure.measured:.4g}", "yes" if figure.holds else "no"
        table.add(*figure.name, *cells, **vars(figure))
    sys.exit(1 if failed else 0)


def figures(args: object) -> Iterator[Figure]:
    """All figures, cheap ones first."""
    said = table_of(README.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        yield from _detector(said, Path(folder))
        yield from _transformer(said, Path(folder))
    yield from _networks(said, args)
    yield from _compressed()


def table_of(text: str) -> dict[str, dict[str, str]]:
    """The first table of a page: row → column → cell; rows are named up to the first comma."""
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert lines is not None
    head, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines[0].splitlines()
    )
    return {row[0].split(",")[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def costs(text: str) -> dict[str, float]:
    """Network → the points that half of its multiplications cost, in the words of a page."""
    words = re.search(r"half of the multiplications costs ([^)]*)\)", " ".join(text.split()))
    assert words is not None
    found = re.findall(r"(ResNet-\d+) (−?\d\.\d+)", words[1])
    return {name: float(cost.replace("−", "-")) for name, cost in found}


def _networks(said: dict[str, dict[str, str]], args: object) -> Iterator[Figure]:
    names = {network: row for row, network in NETWORKS.items()}
    for subject in subjects(args):  # type: ignore[arg-type]
        row = names[subject.name]
        chance = 0.1 if len(subject.images) > 5000 else 0.3
        path = export_onnx(subject.network, subject.folder / "float.onnx").path
        yield Figure((row, "float"), float(said[row]["float"]), subject.top1(path), chance)
        for column, title in TITLES.items():
            progress(row, column)
            top1 = subject.quantized_top1(*COLUMNS[title])
            yield Figure((row, column), float(said[row][column]), top1, chance)


def _detector(said: dict[str, dict[str, str]], folder: Path) -> Iterator[Figure]:
    original, photographs = asset("weights/FastestDet.onnx"), coco128()
    quantized = tersor.quantize(original, input_range=(0.0, 1.0))
    files = {"float": original, DEFAULT: quantized.export(folder / "detector.onnx").path}
    for column, path in files.items():
        found = ap50(path, photographs, quantized.scheme.session)
        yield Figure(("FastestDet", column), float(said["FastestDet.onnx"][column]), found, 0.5)


def _transformer(said: dict[str, dict[str, str]], folder: Path) -> Iterator[Figure]:
    quantized = tersor.quantize(sentences.minilm(), sentences.tokenize(minilm.EXAMPLE))
    files = {
        "float": export_onnx(quantized.original, folder / "float.onnx").path,
        DEFAULT: quantized.export(folder / "int8.onnx").path,
    }
    for column, path in files.items():
        runtime = minilm.load(column, path, threads=1)
        found = minilm.figures(runtime, {})["spearman"].values()
        for given, value in zip(said["MiniLM"][column].split("/"), found, strict=True):
            yield Figure(("MiniLM", column), float(given), value, 0.0015)


def _compressed() -> Iterator[Figure]:
    for network, cost in costs(README.read_text(encoding="utf-8")).items():
        progress("compress", network)
        task = TrainingTask.of(network.lower().replace("-", ""), None).task
        small = tersor.compress(task.network, macs=0.5, data=task.calibration(IMAGES, 0))
        lost = task.top1(task.network) - task.top1(small.network)
        yield Figure((network, "half of the multiplications"), cost, lost, 0.4)


if __name__ == "__main__":
    main()
