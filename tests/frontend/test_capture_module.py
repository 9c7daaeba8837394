"""Open axes of modules: those that are asked for, and a batch that is fixed where it must be."""

import re

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import tersor
from tersor.data.given.samples import samples
from tersor.errors import CaptureError, InvalidInputError
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture, captured
from tersor.graph.network import Skipped
from tersor.graph.shapes import is_free
from tests.frontend.onnx.files import model as onnx_file
from tests.frontend.onnx.files import write


class Flow(nn.Module):
    """One Linear and a forward that is given."""

    def __init__(self, function):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.function = function

    def forward(self, x, other=None):
        return self.function(self, x) if other is None else self.function(self, x, other)


class Pictures(nn.Module):
    """A convolution and a head that take pictures of any size."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 5)

    def forward(self, image):
        return self.head(self.conv(image).relu().mean((2, 3)))


class Flat(Pictures):
    """Takes pictures of 8 × 8 only."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(128, 5)

    def forward(self, image):
        return self.head(self.conv(image).relu().flatten(1))


class Remembers(Pictures):
    """Keeps a grid from the last call if that had the same shape."""

    shape, grid = None, None

    def forward(self, image):
        features = self.conv(image)
        if self.shape != features.shape:
            self.shape = features.shape
            self.grid = torch.arange(features.shape[3]) / 8
        return (features + self.grid).mean((2, 3))


def x(*shape):
    return torch.rand(shape, generator=torch.manual_seed(1))


def sizes(network):
    values = [node.meta["val"] for node in network.graph.find_nodes(op="placeholder")]
    return [[None if is_free(size) else int(size) for size in value.shape] for value in values]


NAMES = {0: "n", 2: "height", 3: "width"}
OPEN = {2: "height", 3: "width"}


@pytest.mark.parametrize("axes", [NAMES, {2: "height", 3: "width"}, {3: "width"}], ids=str)
def test_axes_are_open_under_their_names_in_the_network_and_in_the_file(axes, tmp_path):
    q = tersor.quantize(Pictures().eval(), x(1, 3, 8, 12), dynamic={"image": axes})
    named = {0: "batch", **axes}
    assert q.network.axes == (named,)
    q.export(tmp_path / "q.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "q.onnx")
    shape = session.get_inputs()[0].shape
    assert shape == [named.get(axis, size) for axis, size in enumerate((1, 3, 8, 12))]
    other = x(*[17 if axis in named and axis else size for axis, size in enumerate((3, 3, 8, 12))])
    found = np.asarray(session.run(None, {"image": other.numpy()})[0])
    assert found == pytest.approx(q(other).detach().numpy(), abs=0.1)
    assert found.shape == (3, 5)


def dense(*behind):
    """A network whose output has the size of the picture."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 1), *behind).eval()


def test_no_axis_but_the_batch_of_a_classifier_is_open_without_being_asked_for():
    for model in (Pictures(), Flat()):
        network = capture(model, x(2, 3, 8, 8))
        assert sizes(network) == [[None, 3, 8, 8]]
        assert network.records == []


def test_heights_and_widths_are_open_where_the_output_grows_with_them(tmp_path):
    q = tersor.quantize(dense(), x(2, 3, 8, 8))
    assert sizes(q.network) == [[None, 3, None, None]]
    assert q.network.axes == ({0: "batch", **OPEN},)
    q.export(tmp_path / "q.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "q.onnx")
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    for shape in ((1, 3, 8, 8), (3, 3, 13, 21)):
        found = np.asarray(session.run(None, {"input": x(*shape).numpy()})[0])
        assert found == pytest.approx(q(x(*shape)).detach().numpy(), abs=1e-4)


def test_sizes_that_cannot_be_open_are_told_and_other_samples_refused_with_the_reason():
    network = capture(dense(nn.AdaptiveAvgPool2d(2), nn.Upsample(scale_factor=2)), x(2, 3, 8, 8))
    assert network.records == []  # the output has one size
    both = Flow(lambda m, x: (m.pool(m.conv(x)), m.conv(x)))
    both.conv, both.pool = dense(), nn.AdaptiveAvgPool2d(2)
    network = capture(both, x(2, 3, 8, 8))
    (told,) = network.records
    assert re.search(r"fixed at 8 × 8: .* pools to \[2, 2\], which ONNX computes", told.reason)
    with pytest.raises(InvalidInputError, match=r"fixed at 8 × 8: .* pools to"):
        samples(network, x(2, 3, 16, 16))


def test_the_widths_alone_are_open_where_the_heights_are_fixed():
    lines = Flow(lambda m, x: m.head(m.conv(x).flatten(1, 2).transpose(1, 2)))
    lines.conv, lines.head = nn.Conv2d(1, 4, 3, 2, 1), nn.Linear(32, 6)
    network = capture(lines, x(2, 1, 16, 32))
    assert sizes(network) == [[None, 1, 16, None]]
    assert network.axes == ({0: "batch", 3: "width"},)


def test_pictures_of_the_same_size_share_their_axes_and_others_do_not():
    pair = Flow(lambda m, x, y: m.conv(x) + m.conv(y))
    pair.conv = nn.Conv2d(3, 4, 3, padding=1)
    assert capture(pair, (x(2, 3, 8, 8), x(2, 3, 8, 8))).axes == ({0: "batch", **OPEN},) * 2
    pair.function = lambda m, x, y: (m.conv(x), m.conv(y))
    other = {0: "batch", 2: "height_2", 3: "width_2"}
    found = capture(pair, (x(2, 3, 8, 8), x(2, 3, 6, 10)))
    assert found.axes == ({0: "batch", **OPEN}, other)


def test_no_more_axes_are_open_than_are_asked_for():
    network = capture(dense(), x(2, 3, 8, 8), dynamic={"input": {0: "batch"}})
    assert sizes(network) == [[None, 3, 8, 8]]


def test_a_file_with_open_sizes_is_read_and_verified_without_an_example(tmp_path):
    model = dense()
    tersor.quantize(model, x(2, 3, 8, 12)).export(tmp_path / "q.onnx")
    export_onnx(capture(model, x(2, 3, 8, 12)), tmp_path / "float.onnx")
    file, _ = tersor.load(tmp_path / "float.onnx")
    assert tersor.quantize(file).network.args[0].shape == (2, 3, 8, 12)
    assert tersor.verify(tmp_path / "float.onnx", tmp_path / "q.onnx").samples > 0


def test_all_inputs_that_share_the_batch_have_its_name():
    model = Flow(lambda m, x, y: m.fc(x) + y)
    network = capture(model, (x(3, 4), x(3, 4)), dynamic={"x": {0: "rows"}})
    assert network.axes == ({0: "rows"}, {0: "rows"})
    assert network(x(5, 4), x(5, 4)).shape == (5, 4)


def test_an_axis_that_is_called_batch_is_not_mixed_up_with_the_batch():
    network = capture(Pictures(), x(2, 3, 8, 8), dynamic={"image": {2: "batch"}})
    assert network.axes == ({2: "batch"},)
    assert network(x(5, 3, 6, 8)).shape == (5, 5)


def test_nested_inputs_are_named_by_dots():
    model = Flow(lambda m, x: m.fc(x["a"]).mean(1))
    network = capture(model, ({"a": x(2, 5, 4)},), dynamic={"x.a": {1: "length"}})
    assert sizes(network) == [[None, None, 4]]


def test_an_axis_that_cannot_be_open_is_refused_with_the_reason():
    message = r"axis 3 of input 'image', 'w', cannot be open: .*\. Leave it out of dynamic="
    with pytest.raises(CaptureError, match=message):
        capture(Flat(), x(2, 3, 8, 8), dynamic={"image": {3: "w"}})


REFUSED = {
    "no input": ({"picture": {2: "h"}}, "'picture', which is no input.* are 'image'"),
    "no such axis": ({"image": {4: "h"}}, r"axis 4 .*\(2, 3, 8, 8\); give an axis from 0 to 3"),
    "negative axis": ({"image": {-1: "h"}}, "axis -1 .*give an axis from 0 to 3"),
    "no name": ({"image": {2: ""}}, "axis 2 of input 'image' ''; names consist of letters"),
    "odd name": ({"image": {2: "?h"}}, "names consist of letters"),
    "nothing": ({}, "opens no axis"),
    "no axis": ({"image": {}}, "opens no axis"),
    "different sizes": ({"image": {1: "n", 2: "n"}}, "'n' has size 3 .*and 8"),
    "two inputs": ([("image", 2)], "give a mapping of names to a mapping of ints to names"),
    "a list": ({"image": ["h"]}, "give a mapping of names to a mapping of ints to names"),
}


@pytest.mark.parametrize(("dynamic", "message"), REFUSED.values(), ids=REFUSED)
def test_axes_that_cannot_be_are_refused(dynamic, message):
    with pytest.raises(InvalidInputError, match=message):
        tersor.quantize(Pictures(), x(2, 3, 8, 8), dynamic=dynamic)


def test_what_has_axes_of_its_own_takes_no_others(tmp_path):
    given, axes = x(2, 3, 8, 8), {"image": {2: "height"}}
    network = capture(Pictures(), given)
    with pytest.raises(InvalidInputError, match=r"captured network keeps .*; leave it out"):
        captured(network, dynamic=axes)
    program = torch.export.export(Pictures(), (given,))
    with pytest.raises(InvalidInputError, match=r"program keeps .*export it again"):
        capture(program, dynamic=axes)
    file, _ = tersor.load(
        write(tmp_path, onnx_file("g (float[n] x) => (float[n] y) {y = Relu(x)}"))
    )
    with pytest.raises(InvalidInputError, match="an ONNX file says itself which axes are open"):
        capture(file, x(2), dynamic={"x": {0: "n"}})


def test_every_verb_that_captures_takes_axes():
    given, axes = x(2, 3, 8, 8), {"nothing": {2: "height"}}
    verbs = {
        "inspect": lambda: tersor.inspect(Pictures(), given, dynamic=axes),
        "diagnose": lambda: tersor.diagnose(Pictures(), given, dynamic=axes),
        "compress": lambda: tersor.compress(Pictures(), given, macs=0.5, dynamic=axes),
        "pareto": lambda: tersor.pareto(Pictures(), given, dynamic=axes),
        "search_bits": lambda: tersor.search_bits(
            Pictures(), given, data=given, average=4.0, dynamic=axes
        ),
    }
    for verb in verbs.values():
        with pytest.raises(InvalidInputError, match="'nothing', which is no input"):
            verb()


def fixes_the_batch(m, x):
    return m.fc(x.view(2, 4))


def fixes_the_batch_to_one(m, x):
    return m.fc(x.view(1, 4))


def loops_over_the_batch(m, x):
    return torch.stack([m.fc(row) for row in x])


FIXED = {
    "a number": (fixes_the_batch, 2, r"\(return m.fc\(x.view\(2, 4\)\)\): .*x.shape\[0\]"),
    "one": (fixes_the_batch_to_one, 1, r"\(return m.fc\(x.view\(1, 4\)\)\): .*x.shape\[0\]"),
    "a loop": (loops_over_the_batch, 3, "do not loop over the batch"),
    "a loop over one": (loops_over_the_batch, 1, "do not loop over the batch"),
}


@pytest.mark.parametrize(("function", "count", "why"), FIXED.values(), ids=FIXED)
def test_a_batch_that_cannot_be_free_is_the_example_s_and_told(function, count, why, tmp_path):
    model = Flow(function).eval()
    q = tersor.quantize(model, x(count, 4))
    assert sizes(q.network) == [[count, 4]]
    (told,) = [r for r in q.records if isinstance(r, Skipped) and r.step == "capture"]
    assert told.layer == "x"
    assert re.match(rf"the batch is fixed at {count}: with a free one .*{why}", told.reason)
    q.export(tmp_path / "q.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "q.onnx")
    assert session.get_inputs()[0].shape == [count, 4]
    (found,) = session.run(None, {"x": x(count, 4).numpy()})
    assert np.abs(found - model(x(count, 4)).detach().numpy()).max() < 0.05
    with pytest.raises(InvalidInputError, match=f"the batch is fixed at {count}"):
        samples(q.network, x(count + 1, 4))


def test_an_input_as_long_as_the_batch_by_chance_gets_a_hint():
    model = Flow(lambda m, a, row: m.fc(a) * row)
    network = capture(model, (x(4, 4), x(4)))
    assert sizes(network) == [[4, 4], [4]]
    told = [record for record in network.records if isinstance(record, Skipped)]
    assert [record.layer for record in told] == ["x", "other"]
    assert "only happens to be as long as the batch" in told[0].reason
    assert sizes(capture(model, (x(3, 4), x(4)))) == [[None, 4], [4]]


def test_a_model_that_remembers_sizes_has_free_ones():
    """As detectors do that keep a grid of anchors; see also their heights and widths."""
    model = Remembers().eval()
    given = x(2, 3, 8, 8)
    model(given)
    network = capture(model, given)
    assert network.records == []
    more = x(5, 3, 8, 8)
    assert torch.allclose(network(more), model(more), atol=1e-6)
    network = capture(model, given, dynamic={"image": {2: "height", 3: "width"}})
    more = x(5, 3, 16, 24)
    assert torch.allclose(network(more), model(more), atol=1e-6)
