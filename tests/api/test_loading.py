"""Every verb takes the name of a file for a model, and means what the file holds."""

import json

import pytest
import torch
from torch import nn
from torch.export import Dim
from typer.testing import CliRunner

import tersor
from tersor import cli
from tersor.errors import InvalidInputError, InvalidModelError

X = torch.randn(8, 3, 8, 8, generator=torch.manual_seed(0))


def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same model in every kind of file."""
    folder = tmp_path_factory.mktemp("models")
    model = net()
    program = torch.export.export(model, (X[:2],), dynamic_shapes=({0: Dim.DYNAMIC},))
    torch.export.save(program, folder / "net.pt2")
    small = tersor.compress(model, X, macs=0.99)
    small.save(folder / "net.tersor")
    small.export(folder / "net.onnx")
    return folder


@pytest.mark.parametrize("name", ["net.onnx", "net.pt2", "net.tersor"])
def test_a_path_is_as_good_as_what_is_in_it(name, files):
    loaded = tersor.load(files / name)
    model = loaded if name == "net.tersor" else loaded[0]
    wanted = tersor.quantize(model, data=X)(X)
    assert torch.equal(tersor.quantize(files / name, data=X)(X), wanted)


def test_every_verb_takes_a_path(files, tmp_path):
    path = str(files / "net.onnx")
    assert len(tersor.inspect(path).layers) == 2
    small = tersor.compress(path, macs=0.9)
    assert small.cost.macs < small.original_cost.macs
    assert len(tersor.pareto(path, macs=[0.9], latency=False).points) == 1
    bits = tersor.search_bits(path, data=X, average=4.0, choices=(2, 4, 8))
    assert set(bits.values()) <= {2, 4, 8}
    diagnosis = tersor.diagnose(path, data=X)
    named = [check.name for check in diagnosis.checks]
    assert "the captured graph against the file in onnxruntime" in named
    quantized = tersor.quantize(path, data=X).export(tmp_path / "q.onnx").path
    sqnr = [
        tersor.verify(files / f"net{suffix}", quantized, X, latency=False).sqnr
        for suffix in (".onnx", ".pt2", ".tersor")
    ]
    assert sqnr == pytest.approx([sqnr[0]] * 3, abs=0.1)


def test_the_command_line_reads_a_saved_result(files, tmp_path):
    found = CliRunner().invoke(cli.app, ["inspect", str(files / "net.tersor"), "--json"])
    assert found.exit_code == 0, found.output
    assert len(json.loads(found.stdout)["layers"]) == 2


def test_what_cannot_be_quantized_is_told(files, tmp_path):
    path = tersor.quantize(net(), X, input_range=(-3, 3)).save(tmp_path / "q.tersor")
    with pytest.raises(InvalidModelError, match="already has quantizers"):
        tersor.quantize(path, data=X)
    with pytest.raises(InvalidInputError, match=r"none\.onnx.*no such file|no such file"):
        tersor.quantize(tmp_path / "none.onnx", data=X)
    with pytest.raises(InvalidInputError, match="dequantize is for"):
        tersor.load(path, dequantize=True)
