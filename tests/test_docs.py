"""Every example of the README and the documentation runs."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tersor.cli import app
from tersor.export.onnx.writer import export_onnx
from tersor.export.pytorch.pt2_runtime import has_compiler
from tersor.frontend.capture import capture
from tests import nets
from tests.frontend.onnx.files import RATE, write

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODELS = """
import torch
from tests.nets import plain as make

def batches():
    return torch.utils.data.DataLoader(torch.randn(16, 3, 32, 32), batch_size=8)
"""
BLOCK = re.compile(r"```(python|console)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files that the examples name, made once."""
    files = tmp_path_factory.mktemp("files")
    (files / "mymodels.py").write_text(MODELS)
    images = torch.randn(8, 3, 32, 32)
    np.save(files / "inputs.npy", images.numpy())
    np.savez(files / "labelled.npz", x=images.numpy(), labels=np.arange(8) % 5)
    (files / "photographs").mkdir()
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(files / "photographs" / f"{number}.jpg")
    export_onnx(capture(nets.plain(), images), files / "float.onnx")
    batch = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(nets.plain(), (images,), dynamic_shapes=batch)
    torch.export.save(program, files / "model.pt2")
    write(files, RATE).rename(files / "vad.onnx")
    return files


@pytest.fixture
def folder(files, tmp_path, monkeypatch):
    """A folder with the files that the examples name."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)


def name(page):
    """`papers/dfq.md`."""
    return str(page.relative_to(ROOT)).removeprefix("docs/")


def commands(text):
    """The lines `$ tersor …`, without comments and without the demo."""
    lines = re.findall(r"^\$ (tersor .*)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True)[1:] for line in lines]


def is_executed(page):
    """Whether a page has Python, or commands of ours."""
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    return any(language == "python" or commands(text) for language, text in blocks)


EXECUTED = [page for page in PAGES if is_executed(page)]


@pytest.mark.timeout(1200)  # a page holds many examples
@pytest.mark.parametrize("page", EXECUTED, ids=name)
def test_examples_run(page, folder, capsys):
    if page.name == "compiled.md" and not has_compiler():
        pytest.skip("needs a C++ compiler")
    namespace: dict[str, object] = {}
    for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(text, page.name, "exec"), namespace)  # noqa: S102
            continue
        for command in commands(text):
            result = CliRunner().invoke(app, command)
            assert result.exit_code == 0, f"{command}: {result.output}"
            assert result.stdout


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [x for x in links if "://" not in x and not (page.parent / x).exists()]
    assert not missing


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name)
def test_files_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:src|tests|docs|benchmarks)/[\w/.]*)`", text)
    assert not [name for name in named if not (ROOT / name).exists()]
    inside = re.findall(r"`((?:graph|quant|passes|core|export|report)/[\w/.]*)`", text)
    assert not [name for name in inside if not (ROOT / "src/tersor" / name).exists()]
