"""A few hundred broken files for each reader; `benchmarks/fuzz` reads a hundred thousand."""

from dataclasses import replace

import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.fuzz import loop
from benchmarks.fuzz.kinds import KINDS, SECRET
from benchmarks.fuzz.loop import fuzz
from benchmarks.fuzz.sound import onnx_files
from tersor.errors import InvalidModelError
from tersor.frontend.load import load


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        *(("onnx", 250), ("opaque", 120), ("pt2", 40), ("npz", 300), ("tersor", 200)),
        *(("arithmetic", 150), ("image", 400), ("layer", 300), ("manifest", 300)),
        *(("checkpoint", 300), ("report", 200)),
    ],
)
def test_broken_files_are_read_or_refused(kind, inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    tally = fuzz(KINDS[kind], range(1, inputs + 1), work)
    assert tally.failures == []
    assert tally.outcomes.total() == inputs
    assert tally.outcomes["read"] > 0
    assert tally.outcomes["InvalidModelError"] + tally.outcomes["InvalidInputError"] > inputs / 10


@pytest.mark.parametrize("kind", KINDS)
def test_sound_files_are_read(kind, tmp_path):
    for number, content in enumerate(KINDS[kind].files()):
        path = tmp_path / f"{number}{KINDS[kind].suffix}"
        path.write_bytes(content)
        KINDS[kind].read(path, False)


def test_a_reader_that_never_ends_is_found(tmp_path, monkeypatch):
    def spin(path, captures):
        while True:
            pass

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "SECONDS", 0.1)
    work = tmp_path / "work"
    work.mkdir()
    tally = fuzz(replace(KINDS["npz"], read=spin), range(2), work)
    assert [number for number, _ in tally.failures] == [0, 1]
    assert "Hang: more than 0.1 s" in tally.failures[0][1]


def outside(location, where):
    """A sound file, one of whose tensors is stored elsewhere."""
    model = onnx.load_from_string(onnx_files()[1])
    tensor = model.graph.initializer[0]
    if where == "attribute":
        node = helper.make_node("Constant", [], ["k2"], value=tensor)
        model.graph.node.insert(0, node)
        next(n for n in model.graph.node if n.op_type == "MatMul").input[1] = "k2"
        tensor = model.graph.node[0].attribute[0].t
    if where == "branch":
        same = helper.make_node("Identity", ["k"], ["inner"])
        result = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [8, 8])
        branch = helper.make_graph([same], "b", [], [result], [tensor])
        yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
        model.graph.initializer.append(yes)
        node = helper.make_node("If", ["yes"], ["k2"], then_branch=branch, else_branch=branch)
        model.graph.node.insert(0, node)
        tensor = model.graph.node[0].attribute[0].g.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return model.SerializeToString()


@pytest.mark.parametrize("where", ["weight", "attribute", "branch"])
@pytest.mark.parametrize("location", ["../outside.bin", "link.bin", "{}/outside.bin"])
def test_weights_outside_of_the_folder_are_not_read(location, where, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "outside.bin").write_bytes(SECRET * 20)
    (inside / "link.bin").symlink_to(tmp_path / "outside.bin")
    (inside / "a.onnx").write_bytes(outside(location.format(tmp_path), where))
    with pytest.raises(InvalidModelError, match=r"outside of the file's folder|no sound ONNX file"):
        load(inside / "a.onnx")
    (inside / "weights.bin").write_bytes(bytes(8 * 8 * 4))  # and inside they are
    (inside / "a.onnx").write_bytes(outside("weights.bin", where))
    assert load(inside / "a.onnx")[0] is not None
