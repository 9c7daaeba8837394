"""What may be fed to a file, and what is refused with which words."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tersor.data.given.feeds import batches
from tersor.errors import InvalidInputError
from tersor.export.onnx.writer import export_onnx
from tersor.export.sessions.runtime import CALM, Runtime
from tersor.frontend.capture import capture


class Two(nn.Module):
    def forward(self, left, right):
        return {"sum": left + right["value"], "count": right["count"] + 1}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    example = (torch.randn(2, 3), {"value": torch.randn(2, 3), "count": torch.arange(2)})
    path = tmp_path_factory.mktemp("two") / "two.onnx"
    export_onnx(capture(Two(), example), path)
    return Runtime(path)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "one.onnx"
    export_onnx(capture(nn.Conv2d(3, 2, 1), torch.randn(2, 3, 4, 4)), path)
    return Runtime(path)


def test_inputs_and_outputs(two):
    assert two.inputs == {
        "left": ("batch", 3),
        "right.value": ("batch", 3),
        "right.count": ("batch",),  # as long as the first input, so it is taken for the batch
    }
    assert two.outputs == ("sum", "count")


LEFT, VALUE, COUNT = torch.randn(4, 3), torch.randn(4, 3), torch.arange(4)


@pytest.mark.parametrize(
    "batch",
    [
        (LEFT, VALUE, COUNT),
        [LEFT, VALUE, COUNT],
        (LEFT, {"value": VALUE, "count": COUNT}),
        {"right.count": COUNT, "left": LEFT, "right.value": VALUE},
        (LEFT.numpy(), VALUE.double().numpy(), COUNT.int()),
    ],
    ids=["tuple", "list", "nested", "by name", "arrays of other widths"],
)
def test_forms_of_a_batch(two, batch):
    outputs = two(batch)
    np.testing.assert_allclose(outputs["sum"], LEFT + VALUE)
    np.testing.assert_array_equal(outputs["count"], COUNT + 1)


def test_a_single_tensor_or_array(one):
    x = torch.randn(5, 3, 4, 4, requires_grad=True)
    np.testing.assert_array_equal(one(x)["output"], one(x.detach().numpy())["output"])


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.randn(2, 4, 4), r"'input' has shape \(2, 4, 4\).*\[batch, 3, height, width\]"),
        (torch.randn(2, 1, 4, 4), r"'input' has shape \(2, 1, 4, 4\).*\[batch, 3, height, width\]"),
        (torch.randn(0, 3, 4, 4), r"shape \(0, 3, 4, 4\).*no axis empty"),
        (torch.ones(2, 3, 4, 4).byte(), "is uint8; the model takes float32"),
        ((), r"takes 1 input\(s\) \['input'\], got \[\]"),
        ((torch.randn(2, 3, 4, 4), 7), "got .*7"),
        ({"image": torch.randn(2, 3, 4, 4), "mask": 1}, r"\['input'\], got \['image', 'mask'\]"),
    ],
)
def test_what_does_not_fit_is_refused(one, batch, message):
    with pytest.raises(InvalidInputError, match=message):
        one(batch)


def test_split_cuts_all_inputs_alike(two):
    feed = two.feed((LEFT, VALUE, COUNT))
    parts = list(two.split(feed, 3))
    assert [len(part["right.count"]) for part in parts] == [3, 1]
    np.testing.assert_array_equal(np.concatenate([p["left"] for p in parts]), LEFT)


@pytest.mark.parametrize("first", [1, 2, 3, 4])
def test_the_first_part_may_be_smaller(two, first):
    feed = two.feed((LEFT, VALUE, COUNT))
    parts = list(two.split(feed, 3, first))
    assert len(parts[0]["left"]) == first
    assert all(len(part["left"]) <= 3 for part in parts[1:])
    np.testing.assert_array_equal(np.concatenate([p["left"] for p in parts]), LEFT)


def test_a_fixed_batch_is_not_split(tmp_path):
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [4, 3])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4, 3])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    opset = [onnx.helper.make_opsetid("", 21)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.save(model, str(tmp_path / "fixed.onnx"))
    runtime = Runtime(tmp_path / "fixed.onnx")
    feed = runtime.feed(torch.randn(4, 3))
    assert [len(part["x"]) for part in runtime.split(feed, 1)] == [4]
    assert [len(part["x"]) for part in runtime.split(runtime.feed(torch.randn(8, 3)), 1)] == [4, 4]
    with pytest.raises(InvalidInputError, match=r"\(3, 3\).*\[4, 3\]"):
        runtime(torch.randn(3, 3))


def test_a_fixed_batch_runs_several_times(one, tmp_path):
    model = onnx.load(one.path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    path = tmp_path / "fixed.onnx"
    onnx.save(model, path)
    x = np.random.default_rng(0).standard_normal((6, 3, 4, 4)).astype(np.float32)
    (got,), (want,) = (runtime.run({"input": x}).values() for runtime in (Runtime(path), one))
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_renamed_goes_by_order(one, two):
    assert list(one.renamed({"x": np.ones(1)})) == ["input"]
    with pytest.raises(InvalidInputError, match=r"inputs \['left'.*other file \['x'\]"):
        two.renamed({"x": np.ones(1)})


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(InvalidInputError, match=r"no file .*nowhere\.onnx"):
        Runtime(tmp_path / "nowhere.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(InvalidInputError, match=r"cannot load .*broken\.onnx"):
        Runtime(tmp_path / "broken.onnx")


@pytest.mark.parametrize("inputs", [LEFT, LEFT.numpy(), (LEFT, VALUE), {"left": LEFT}])
def test_one_batch_stays_one(inputs):
    (batch,) = batches(inputs)
    assert batch is inputs


def test_iterables_are_series_of_batches():
    assert [id(batch) for batch in batches([LEFT, VALUE])] == [id(LEFT), id(VALUE)]
    assert len(list(batches(x for x in (LEFT, VALUE, LEFT)))) == 3


@pytest.mark.parametrize(("inputs", "message"), [([], "no batch"), (5, "inputs are int")])
def test_no_batches(inputs, message):
    with pytest.raises(InvalidInputError, match=message):
        list(batches(inputs))


def test_idle_threads_sleep_but_where_times_are_taken(one):
    def spins(runtime):
        options = runtime._session.get_session_options()
        return options.get_session_config_entry("session.intra_op.allow_spinning")

    assert spins(one) == "0"
    with pytest.raises(RuntimeError, match="allow_spinning"):  # the entry does not exist
        spins(Runtime(one.path, config=CALM))
    assert spins(Runtime(one.path, config={"session.intra_op.allow_spinning": "1"})) == "1"
