"""A file is captured in one run at two sizes: the graph is that of `torch.export`."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tersor.frontend.axes import names_of
from tersor.frontend.capture import capture
from tersor.frontend.given import resized
from tersor.frontend.onnx.capture_file import file_axes
from tersor.frontend.onnx.model import read_model
from tersor.frontend.onnx.record_file import record_file
from tersor.frontend.open_axes import capture_open
from tests.frontend.onnx.files import model, random, write

PICTURE = "(float[N, 3, H, W] x)"
WEIGHTS = {"w": random(4, 3, 3, 3), "b": random(4), "v": random(4, 5)}
#: Files that read sizes in several ways.
CASES = {
    "no size": f"g {PICTURE} => (float[N, 4, P, Q] y) {{ a = Conv(x, w, b) y = Relu(a) }}",
    "a size in a shape": f"""g {PICTURE} => (float[N, 4, L] y) {{
        a = Conv <pads = [1, 1, 1, 1]> (x, w, b) s = Shape(a)
        n = Gather <axis = 0> (s, zero) c = Gather <axis = 0> (s, one) r = Concat <axis = 0>
        (n, c, rest) y = Reshape(a, r) }}""",
    "a product of sizes": f"""g {PICTURE} => (float[L, 4] y) {{
        a = Conv <pads = [1, 1, 1, 1]> (x, w, b) t = Transpose <perm = [0, 2, 3, 1]> (a)
        s = Shape <start = 0, end = 3> (t) n = ReduceProd <keepdims = 1> (s)
        r = Concat <axis = 0> (n, four) y = Reshape(t, r) }}""",
    "a half of a size": f"""g {PICTURE} => (float[N, 3, P, W] y) {{ s = Shape(x)
        h = Gather <axis = 0> (s, two) k = Div(h, two) y = Slice(x, zero, k, two) }}""",
    "counted": f"""g {PICTURE} => (float[N, 3, H, W] y) {{ s = Shape(x)
        w_ = Gather <axis = 0> (s, three_) r = Range(zero_, w_, one_)
        f = Cast <to = 1> (r) y = Add(x, f) }}""",
    "parts": """g (float[N, 4] x) => (float[N, 5] y, float[N, 2] z) {
        h, z = Split <axis = 1> (x, two_two) c = Concat <axis = 1> (z, h) y = MatMul(c, v) }""",
}
NUMBERS = {
    "zero": [0],
    "one": [1],
    "two": [2],
    "four": [4],
    "rest": [-1],
    "two_two": [2, 2],
    "zero_": 0,
    "one_": 1,
    "three_": 3,
}


def opened(text, path):
    used = {k: np.array(v) for k, v in NUMBERS.items() if k in text}
    used |= {k: v for k, v in WEIGHTS.items() if f", {k}" in text}
    file = read_model(write(path, model(text, 17, **used)))
    shape = (1, 4) if "float[N, 4] x" in text else (1, 3, 8, 8)
    inputs = (torch.from_numpy(random(*shape)),), {}
    return file, inputs, file_axes(file.inputs, inputs[0])


def calls(network):
    """What is computed, but for sizes."""
    return [
        str(node.target)
        for node in network.graph.nodes
        if node.op == "call_function" and isinstance(node.meta["val"], Tensor | list)
    ]


@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_the_graph_is_that_of_torch_export(text, tmp_path):
    file, inputs, axes = opened(text, tmp_path)
    with torch.no_grad():
        found, known = record_file(file, inputs, axes), capture_open(file, inputs, axes)
        assert found is not None
        assert found.axes == known.axes == axes
        assert calls(found.network) == calls(known.network)
        assert found.network.module.state_dict().keys() == known.network.module.state_dict().keys()
        for sizes in ({"N": 1, "H": 7, "W": 9}, {"N": 5, "H": 12, "W": 6}):
            args, _ = resized(inputs, axes, {n: sizes[n] for n in names_of(axes) if n in sizes})
            for got, want in zip(found.network(*args), known.network(*args), strict=True):
                torch.testing.assert_close(got, want)


def test_values_keep_the_sizes_and_types_of_the_example(tmp_path):
    file, inputs, axes = opened(CASES["no size"], tmp_path)
    with torch.no_grad():
        found = record_file(file, inputs, axes)
    assert found is not None
    nodes = {
        node.name: node.meta["val"] for node in found.network.graph.nodes if "val" in node.meta
    }
    assert nodes["relu"].shape == (2, 4, 6, 6)
    assert (nodes["relu"].dtype, nodes["relu"].device) == (torch.float32, torch.device("cpu"))
    assert [isinstance(n, torch.SymInt) for n in nodes["inputs_0"].shape] == [
        True,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    "text",
    [
        """g (float[N, T] x) => (float[2, 2] y) { y = Reshape(x, two_two) }""",
        """g (float[N, 4] x) => (int64[K] y) { s = Shape(x) n = Gather <axis = 0> (s, zero)
        y = NonZero(x) }""",
    ],
    ids=["a size is fixed", "a size depends on values"],
)
def test_what_cannot_be_recorded_is_left_to_torch_export(text, tmp_path):
    file, inputs, axes = opened(text, tmp_path)
    with torch.no_grad():
        assert record_file(file, inputs, axes) is None


def test_capture_records_files(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.export, "export", None)  # which fails if it is called
    file, inputs, _ = opened(CASES["a size in a shape"], tmp_path)
    network = capture(file, inputs[0])
    assert [record for record in network.records if record.step == "capture"] == []
