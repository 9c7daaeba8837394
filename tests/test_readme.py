"""The README: its example prints what it says, and its figures are those of the results."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs" / "results").glob("*.md"))
RESULTS = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
#: Column of the README → column of the results of `benchmarks.dfq_accuracy`.
COLUMNS = {
    "float": "float",
    "naive int8, per tensor": "per-tensor: naive",
    "Tersor, per tensor": "+ correct = DFQ",
    "Tersor, default format": "default scheme: DFQ",
}
NETWORKS = {
    "EfficientNet-Lite0, 1,000 ImageNet images": "efficientnet_lite0",
    "ShuffleNetV2 x0.5, CIFAR-10": "shufflenetv2_x0_5",
    "ResNet-20, CIFAR-10": "resnet20",
}
DETECTOR = "FastestDet.onnx, AP50 on 128 images of COCO"
TRANSFORMER = "MiniLM, Spearman on SemEval 2014 / 2015 images"


def table_of(text):
    """The first table of a text: row → column → cell."""
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)[0].splitlines()
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def measured(command):
    """The first table that a command printed, in the results."""
    return table_of(RESULTS.partition(f"`python -m {command}`")[2])


SAID = table_of(README)


@pytest.mark.parametrize("row", NETWORKS)
def test_networks_have_the_figures_of_the_results(row):
    found = measured("benchmarks.dfq_accuracy")[NETWORKS[row]]
    assert [SAID[row][x] for x in COLUMNS] == [found[x] for x in COLUMNS.values()]


def test_the_detector_and_the_transformer_have_the_figures_of_the_results():
    detector = measured("benchmarks.fastest_detector")
    transformer = measured("benchmarks.minilm --rounds 9")
    for column, of_detector, of_transformer in (
        ("float", "float, as it came", "float"),
        ("Tersor, default format", "int8, onnxruntime-cpu", "onnxruntime-cpu"),
    ):
        assert SAID[DETECTOR][column] == detector[of_detector]["AP50"]
        both = transformer[of_transformer]
        pair = (both["2014.images"], both["2015.images"])
        assert SAID[TRANSFORMER][column] == " / ".join(x.removeprefix("0") for x in pair)


def test_compression_costs_what_the_results_say():
    found = measured(
        "benchmarks.compression.budget --models resnet20 resnet32 resnet56 --macs 0.5 "
        "--methods depthwise+spatial+prune --levels 2"
    )
    lost = {row.split(",")[0]: cells["lost"] for row, cells in found.items()}
    words = re.search(r"half of the multiplications costs ([^)]*)\)", " ".join(README.split()))[1]
    costs = re.findall(r"(ResNet-\d+) (−?\d\.\d+)", words)
    assert {network.lower().replace("-", ""): cost for network, cost in costs} == lost


def test_there_are_no_other_figures():
    """Code and its output are run, names have digits, and references are no figures."""
    text = README.partition("## References")[0]
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", " ", text, flags=re.DOTALL)
    text = re.sub(r"^\|.*$", " ", text, flags=re.MULTILINE)
    text = re.sub(r"half of the\s+multiplications\s+costs [^)]*", " ", text)
    assert not re.findall(r"\d*\.\d+|\d+ ?%|\d+ times", text)


def test_example_prints_what_it_says(tmp_path, monkeypatch, capsys):
    code, printed = re.search(
        r"```python\n(.*?)```\s+```text\n(.*?)```", README, re.DOTALL
    ).groups()
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out == printed
    assert (tmp_path / "model.int8.onnx").is_file()


def test_length():
    assert 60 <= len(README.splitlines()) <= 100
