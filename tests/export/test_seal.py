"""A file that was changed after it was written says so."""

import json
import os

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from typer.testing import CliRunner

from tersor import cli
from tersor.errors import InvalidInputError
from tersor.export.evidence.seal import changes
from tersor.export.onnx import writer
from tersor.export.onnx.writer import export_onnx
from tersor.export.proof.verify import Options, verify
from tests.export.models import quantize_by_hand, small


@pytest.fixture(scope="module")
def network():
    return quantize_by_hand(small())


@pytest.fixture(scope="module")
def path(network, tmp_path_factory):
    return export_onnx(network, tmp_path_factory.mktemp("seal") / "int8.onnx").path


def _stored(model, name, change):
    (value,) = [value for value in model.graph.initializer if value.name == name]
    value.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(value).copy()), name))


def _one_more(weight):
    weight.flat[5] += 1
    return weight


def _negated(weight):
    weight[2] *= -1
    return weight


def _exchanged(model):
    stored = {value.name: value for value in model.graph.initializer}
    first, second = stored["conv2.weight_scale"], stored["conv1.weight_scale"]
    first.raw_data, second.raw_data = second.raw_data, first.raw_data


def _swapped_inputs(model):
    add = next(node for node in model.graph.node if node.op_type == "Add")
    add.input[0], add.input[1] = add.input[1], add.input[0]


def _other_pads(model):
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    (pads,) = [attribute for attribute in conv.attribute if attribute.name == "pads"]
    pads.ints[:] = [2, 2, 0, 0]


def _other_op(model):
    add = next(node for node in model.graph.node if node.op_type == "Add")
    add.op_type = "Sub"


def _other_target(model):
    model.metadata_props.add(key="tersor.scheme", value="openvino-cpu")


TAMPERED = {
    "one weight": lambda m: _stored(m, "conv1.weight", _one_more),
    "scales": lambda m: _stored(m, "conv2.weight_scale", lambda x: 2 * x),
    "a channel": lambda m: _stored(m, "conv1.weight", _negated),
    "a bias": lambda m: _stored(m, "head.bias", np.zeros_like),
    "scales of two layers": _exchanged,
    "inputs of a node": _swapped_inputs,
    "an attribute": _other_pads,
    "an op": _other_op,
    "a note": _other_target,
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_every_change_is_told_with_an_exit_code(kind, path, tmp_path):
    model = onnx.load(path)
    TAMPERED[kind](model)
    onnx.save(model, tmp_path / "changed.onnx")
    done = CliRunner().invoke(cli.app, ["verify", str(tmp_path / "changed.onnx")])
    assert done.exit_code == 3, done.output
    assert "what was written" in done.stderr
    if kind == "one weight":
        assert "the stored value 'conv1.weight' is not what was written" in done.stderr


def test_a_sound_file(path):
    done = CliRunner().invoke(cli.app, ["verify", str(path), "--json"])
    assert (done.exit_code, json.loads(done.stdout)["changes"]) == (0, [])


def test_a_flipped_bit_beside_the_file(network, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "LARGEST_FILE", 100)
    path = export_onnx(network, tmp_path / "big.onnx").path
    assert changes(path) == []
    (data,) = tmp_path.glob("*.data")
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    assert len(changes(path) or ()) == 1
    data.unlink()
    done = CliRunner().invoke(cli.app, ["verify", str(path)])
    assert done.exit_code == 1
    assert "damaged or missing" in done.stderr


@pytest.mark.parametrize("location", ["/dev/zero", "../outside", "pipe", "link", ".", "a\0b"])
def test_values_beside_the_file_are_read_from_its_folder_alone(
    location, network, tmp_path, monkeypatch
):
    monkeypatch.setattr(writer, "LARGEST_FILE", 100)
    folder = tmp_path / "inside"
    folder.mkdir()
    path = export_onnx(network, folder / "big.onnx").path
    (data,) = folder.glob("*.data")
    (tmp_path / "outside").write_bytes(data.read_bytes())
    (folder / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(folder / "pipe")
    model = onnx.load(path, load_external_data=False)
    for value in model.graph.initializer:
        for entry in value.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidInputError, match=r"damaged or missing \(.*weight|null"):
        changes(path)


def test_what_nothing_can_be_said_of(path, tmp_path):
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name, message in (
        ("other.onnx", "carries no proof of what was written"),
        ("nowhere.onnx", "damaged or missing"),
        ("empty.onnx", "carries no proof"),
        ("model.pt2", "is no readable .pt2 file"),
        ("model.txt", "is no .onnx and no .pte and no .pt2 file"),
    ):
        done = CliRunner().invoke(cli.app, ["verify", str(tmp_path / name)])
        assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
        assert message in done.stderr
    done = CliRunner().invoke(cli.app, ["verify", str(path), "--min-sqnr", "5"])
    assert done.exit_code == 1
    assert "--min-sqnr has no effect without the float model" in done.stderr


def test_without_a_simulation_nothing_is_said_of_it(path, tmp_path):
    model = onnx.load(path)
    TAMPERED["scales"](model)
    onnx.save(model, tmp_path / "changed.onnx")
    float_path = export_onnx(small(), tmp_path / "float.onnx").path
    images = torch.randn(4, 3, 8, 8)
    found = verify(float_path, None, tmp_path / "changed.onnx", images, Options(latency=False))
    said = dict(found.rows())
    assert not any("simulation" in name for name in said)
    assert "runtime against file without integer kernels" in said
    assert "conv2.weight_scale" in said["changed"]
    assert found.as_dict()["changes"] == [said["changed"]]
    assert found.verdict.grade != "good"
