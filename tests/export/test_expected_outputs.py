"""A file that computes something else than when it was written says so, whatever its seal says."""

import json

import onnx
import pytest
import torch
from onnx import helper
from torch import nn
from typer.testing import CliRunner

import tersor
from tersor import cli
from tersor.export.evidence import expected_outputs
from tersor.export.evidence.evidence import leave_expected
from tersor.export.evidence.expected_outputs import from_text
from tersor.export.evidence.seal import EXPECTED, notes, seal, short_seal
from tersor.export.onnx.writer import export_onnx
from tersor.export.proof.examined import examine
from tersor.frontend.capture import capture
from tests.export.models import quantize_by_hand, small
from tests.export.test_seal import TAMPERED

SAME = {"inputs of a node", "a note"}  # of these changes every output keeps all its bits
FAR = {"scales", "a bias", "scales of two layers", "an op"}  # below 20 dB


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("expected")
    return export_onnx(quantize_by_hand(small()), folder / "int8.onnx").path


def tampered(kind, path, folder, *removed, renewed=False):
    """A copy with a change, without some of the notes, and perhaps with a seal that fits."""
    model = onnx.load(path)
    TAMPERED[kind](model)
    own = {note.key: note.value for note in model.metadata_props}
    if renewed:
        seal(model)
        model.metadata_props.add(key=EXPECTED, value=own[EXPECTED])
    for note in [note for note in model.metadata_props if note.key in removed]:
        model.metadata_props.remove(note)
    onnx.save(model, folder / "changed.onnx")
    return folder / "changed.onnx"


def verified(path, *options):
    return CliRunner().invoke(cli.app, ["verify", str(path), *options])


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_new_seal_hides_no_change(kind, path, tmp_path):
    changed = tampered(kind, path, tmp_path, renewed=True)
    done = verified(changed)
    assert done.exit_code == 3, done.output
    assert "sealed anew" in done.stderr
    assert ("every bit should be the same" in done.stderr) == (kind not in SAME)


@pytest.mark.parametrize("kind", TAMPERED)
def test_nor_does_removing_it(kind, path, tmp_path):
    done = verified(tampered(kind, path, tmp_path, "tersor.seal"))
    assert done.exit_code == 3
    assert "its seal was removed" in done.stderr
    done = verified(tampered(kind, path, tmp_path, EXPECTED, renewed=True))
    assert done.exit_code == 3
    assert "its expected outputs were removed" in done.stderr
    done = verified(tampered(kind, path, tmp_path, EXPECTED, "tersor.seal"))
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert "carries no proof" in done.stderr


@pytest.mark.parametrize("kind", TAMPERED)
def test_outputs_alone_see_what_is_computed_otherwise(kind, path, tmp_path, monkeypatch):
    """Whoever renews everything but the outputs; and the same on another machine."""
    changed, own = tampered(kind, path, tmp_path, EXPECTED, renewed=True), notes(path)
    kept, _ = from_text(own[EXPECTED], short_seal(own))
    text = expected_outputs.as_text(kept, short_seal(notes(changed)))
    with changed.open("ab") as file:
        note = onnx.ModelProto(
            metadata_props=[onnx.StringStringEntryProto(key=EXPECTED, value=text)]
        )
        file.write(note.SerializeToString())
    assert bool(examine(changed).changes) == (kind not in SAME)
    monkeypatch.setattr(expected_outputs, "features", lambda: ("another",))
    assert bool(examine(changed).changes) == (kind in FAR)


def test_a_sound_file(path, monkeypatch):
    done = verified(path)
    assert (done.exit_code, "bit for bit" in done.stdout) == (0, True)
    assert len(notes(path)[EXPECTED]) < 4096
    monkeypatch.setattr(expected_outputs, "features", lambda: ("another",))
    found = json.loads(verified(path, "--json").stdout)
    assert (found["changes"], found["outputs"]) == ([], {"output": None})
    assert found["run_with"].endswith("another")


def of_shape(shape, path):
    """Expectations with an input of a shape."""
    kept = {"inputs": [{"shape": shape, "low": 0.0, "high": 1.0}], "on": "", "outputs": {}}
    return expected_outputs.as_text(kept, short_seal(notes(path)))


def test_damaged_expectations(path, tmp_path):
    for text, said in (
        ("0 {}", "its expected outputs are not what was written"),
        ("", "its expected outputs are not what was written"),
        (expected_outputs.as_text({"inputs": 3}, short_seal(notes(path))), "TypeError"),
        (of_shape([1 << 40], path), "more than 16,777,216 numbers"),
        (of_shape([1 << 40, 0], path), "more than 16,777,216 numbers"),
        (of_shape([1 << 31, 3, -(1 << 63)], path), "an input has a negative size"),
    ):
        model = onnx.load(path)
        next(note for note in model.metadata_props if note.key == EXPECTED).value = text
        onnx.save(model, tmp_path / "changed.onnx")
        done = verified(tmp_path / "changed.onnx")
        assert done.exit_code == 3
        assert said in done.stderr


class Several(nn.Module):
    """Tokens and states in, a tuple out, whose first part has a large size."""

    def __init__(self):
        super().__init__()
        self.table, self.cell = nn.Embedding(50, 8), nn.LSTM(8, 8, batch_first=True)
        self.head = nn.Linear(8, 400)

    def forward(self, tokens, h, c):
        y, (h, c) = self.cell(self.table(tokens), (h, c))
        return self.head(y), h, c, y.argmax(-1)


def test_several_inputs_integers_states_and_open_axes(tmp_path):
    torch.manual_seed(0)
    tokens, state = torch.randint(0, 50, (2, 9)), torch.zeros(1, 2, 8)
    axes = {"tokens": {0: "batch"}, "h": {1: "batch"}, "c": {1: "batch"}}
    q = tersor.quantize(Several().eval(), (tokens, state, state), dynamic=axes, tolerance=None)
    path = q.export(tmp_path / "q.onnx").path
    found = examine(path)
    assert found.changes == ()
    assert found.outcome is not None
    assert len(found.outcome.sqnr) == 4
    assert len(notes(path)[EXPECTED]) < 4096
    model = onnx.load(path)
    stored = next(x for x in model.graph.initializer if list(x.dims) == [50, 8])
    array = onnx.numpy_helper.to_array(stored).copy()
    array[3:] += 1  # tokens of the whole table are drawn, not only 0 and 1
    stored.CopyFrom(onnx.numpy_helper.from_array(array, stored.name))
    (own,) = (note for note in model.metadata_props if note.key == "tersor.seal")
    model.metadata_props.remove(own)  # a file that its seal says was changed is not run
    onnx.save(model, path)
    assert any("every bit" in change for change in examine(path).changes)


def test_a_file_that_computes_something_else_each_time(tmp_path):
    node = helper.make_node("RandomNormalLike", ["x"], ["y"])
    ends = [helper.make_tensor_value_info(name, 1, [None, 3]) for name in "xy"]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    sealed = seal(model)
    onnx.save(model, tmp_path / "r.onnx")
    network = capture(nn.ReLU(), torch.zeros(2, 3))
    leave_expected(tmp_path / "r.onnx", sealed, network)
    found = examine(tmp_path / "r.onnx")
    assert (found.changes, found.nothing) == ((), "it computes something else each time")
