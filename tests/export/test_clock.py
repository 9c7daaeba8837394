"""Times of single layers, and the calls that they depend on."""

import math

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from tersor.export.sessions import clock as clock_module
from tersor.export.sessions.clock import Clock, _file
from tersor.frontend.capture import capture
from tersor.graph.calls import Call, calls
from tests import nets


class Kinds(nn.Module):
    """One layer of each kind."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=(1, 0), bias=False)
        self.same = nn.Conv2d(8, 6, (3, 4), padding="same", dilation=2)
        self.depthwise = nn.Conv2d(6, 6, 3, groups=6)
        self.up = nn.ConvTranspose2d(6, 4, 3, stride=2, output_padding=1, groups=2)
        self.line = nn.Conv1d(4, 5, 3, padding=1)
        self.linear = nn.Linear(5, 7)

    def forward(self, x):
        x = self.up(self.depthwise(self.same(self.conv(x)))).flatten(2)
        return self.linear(self.line(x).mT)


NETWORK = capture(Kinds().eval(), torch.randn(1, 3, 16, 16))


@pytest.mark.parametrize("number", range(6))
def test_a_file_computes_what_the_layer_does(number):
    """The shape is that of the layer's output, averaged as the file says."""
    node, call = calls(NETWORK)[number]
    model = _file(call, 2, np.random.default_rng(0))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"x": np.ones(call.input, np.float32)})
    outputs = node.meta["val"].shape
    means = 1 if call.op == "MatMul" else call.outputs
    assert len(found) == 2
    assert all(value.size == means for value in found)
    assert outputs[-1 if call.op == "MatMul" else 1] == call.outputs


@pytest.mark.parametrize("number", range(6))
def test_with_the_weights_of_the_layer_it_returns_the_same(number):
    node, call = calls(NETWORK)[number]
    model = _file(call, 1, np.random.default_rng(0))
    stored = {tensor.name: torch.tensor(ort_array(tensor)) for tensor in model.graph.initializer}
    x = torch.randn(call.input)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x.numpy()})
    weight = stored["w0"].mT if call.op == "MatMul" else stored["w0"]
    expected = node.target(x, weight, stored.get("b0"), *node.args[3:])
    axes = list(range(expected.ndim)) if call.op == "MatMul" else list(range(2, expected.ndim))
    torch.testing.assert_close(
        torch.tensor(found).flatten(), expected.mean(axes).flatten(), rtol=1e-4, atol=1e-5
    )


def ort_array(tensor):
    import onnx.numpy_helper

    return onnx.numpy_helper.to_array(tensor).copy()


def test_one_sample_is_timed_where_the_batch_is_free():
    network = capture(nets.plain(), nets.images(6))
    assert {call.input[0] for _, call in calls(network)} == {1}
    assert {call.input[0] for _, call in calls(network, one=False)} == {6}


def test_more_work_takes_longer_and_is_timed_once():
    told = []
    clock = Clock(lambda done, total: told.append((done, total)))
    small, large = (Call("Conv", (1, 8, n, n), (8, 8, 3, 3), 8) for n in (8, 128))
    times = clock([small, large, small])
    assert set(times) == {small, large}
    assert times[large] > 10 * times[small] > 0
    assert clock([large])[large] == times[large]
    assert told == [(2, 6), (4, 6), (6, 6)]


def test_what_was_timed_while_the_first_call_was_fastest_counts(monkeypatch):
    calls = [Call("MatMul", (1, n), (n, n), n) for n in (1, 2)]
    passes = iter([(5, 1), (3, 7), (4, 2)])
    monkeypatch.setattr(
        clock_module, "_timed", lambda _: dict(zip(calls, next(passes), strict=True))
    )
    assert Clock()(calls) == {calls[0]: 3, calls[1]: 7}


def test_a_large_weight_is_not_copied():
    call = Call("MatMul", (1, 2048), (2048, 2049), 2049, has_bias=False)
    assert math.prod(call.weight) > 1 << 22
    assert Clock()([call])[call] > 0
