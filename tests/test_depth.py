"""Networks deeper than Python's stack; `benchmarks/depth.py` goes on to 10,000 layers."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

import tersor
from tersor.export.onnx.lower import lower
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tests.frontend.onnx.files import model, random, write

DEPTH = sys.getrecursionlimit() + 100
OPS = (
    torch.relu,
    lambda x: x.flatten(1),
    lambda x: 0.5 - x,
    torch.tanh,
    lambda x: x.clamp(0.0, 6.0),
    lambda x: x * torch.sigmoid(x),
    lambda x: x + x,
)


def deep(x, ops):
    for depth in range(DEPTH):
        x = ops[depth % len(ops)](x)
    return x


class Activations(nn.Module):
    """Two layers, far apart."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.last(deep(self.first(x), OPS[:2]))


class ComputedWeight(nn.Module):
    """A layer whose weight is computed from stored tensors in many steps."""

    def __init__(self):
        super().__init__()
        self.stored = nn.Parameter(torch.rand(4, 4))

    def forward(self, x):
        return nn.functional.linear(x, deep(self.stored, OPS))


@pytest.mark.parametrize("kind", [Activations, ComputedWeight])
def test_a_deep_network(kind):
    torch.manual_seed(0)
    network, x = kind().eval(), torch.rand(2, 4)
    quantized = tersor.quantize(network, x)
    lowered = lower(quantized.network)
    with torch.no_grad():
        torch.testing.assert_close(quantized(x), network(x), atol=0.1, rtol=0.1)
        torch.testing.assert_close(lowered.network(x), quantized(x))


def test_a_deep_file(tmp_path):
    """A quantized one, whose integers pass through most of it."""
    moves = " ".join(f"a{n} = Identity(a{n - 1})" for n in range(1, DEPTH))
    floats = " ".join(f"b{n} = Identity(b{n - 1})" for n in range(1, DEPTH))
    text = f"""g (float[N, 4] x) => (float[N, 3] y) {{
        a0 = QuantizeLinear(x, s, z) {moves} b0 = DequantizeLinear(a{DEPTH - 1}, s, z)
        {floats} y = MatMul(b{DEPTH - 1}, w) }}"""
    weight = random(4, 3)
    path = write(tmp_path, model(text, w=weight, s=np.float32(0.1), z=np.uint8(100)))
    network = capture(tersor.load(path, dequantize=True)[0])
    x = torch.randn(2, 4)
    torch.testing.assert_close(network(x), x @ torch.from_numpy(weight))
    assert [layer.name for layer in layers(network)] == ["w"]
