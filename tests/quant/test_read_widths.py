"""Bits of activations by the name of the layer that reads them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tersor
from tersor.errors import InvalidInputError
from tersor.graph.nodes import source
from tersor.quant.placement.place import quantizers
from tersor.quant.range_methods import MinMax


class Residual(nn.Module):
    """Two convolutions read one value, which is also added; a head reads a pooled one."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.left = nn.Conv2d(4, 4, 3)
        self.right = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        y = torch.relu(self.left(F.pad(x, (1, 1, 1, 1)))) + self.right(x)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(y, 1), 1))


class Shortcut(nn.Module):
    """Two blocks: a ReLU is read by a convolution and by an addition."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        for conv in (self.first, self.second):
            x = torch.relu(x + conv(x))
        return self.head(x.mean((2, 3)))


X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
MANY = torch.randn(64, 3, 8, 8, generator=torch.manual_seed(3))  # enough for no margin


def bits(activations, model=None):
    """Value → bits, and `to` a layer that reads it rounded once more → bits."""
    q = tersor.quantize(model or Residual(), X, activations=activations)
    found = {}
    for node, module in quantizers(q.network):
        if source(node).op != "get_attr":
            again = node.args[0].op == "call_module"
            for name in [f"to {x.name}" for x in node.users] if again else [source(node).name]:
                found[name] = module.grid.bits
    return found


def test_a_layer_says_how_many_bits_it_reads():
    found = bits({"*": 4, "stem": 8, "head": 8})
    assert found["x"] == 8
    assert found["relu"] == found["relu_1"] == found["conv2d_2"] == found["add"] == 4
    assert found["adaptive_avg_pool2d"] == 8
    assert found.get("flatten", 8) == 8  # moved only: one quantizer for both


def test_the_widest_of_several_layers_counts_and_what_is_moved_is_one_value():
    found = bits({"*": 8, "left": 4, "right": 6})
    assert found["relu"] == 6
    assert found.get("pad", 6) == 6
    assert found["to conv2d_1"] == 4  # left, behind the padding
    assert bits({"*": 8, "left": 4, "right": 3})["relu"] == 4


def test_what_an_addition_reads_with_more_bits_is_rounded_again_for_layers():
    found = bits({"*": 4, "add*": 8})
    assert found["relu_1"] == found["conv2d_2"] == 8  # what the sum reads
    assert found["relu"] == 4  # only convolutions read it


FEW = {"*": 2, "add*": 8, "stem": 8, "head": 8}


def test_a_shortcut_keeps_its_bits_where_layers_read_few():
    found = bits(FEW, Shortcut())
    assert found["relu"] == found["relu_1"] == 8
    assert found["to conv2d_1"] == found["to conv2d_2"] == 2
    alike = bits({**FEW, "add*": 2}, Shortcut())
    assert alike["relu"] == alike["relu_1"] == 2
    assert not any(name.startswith("to ") for name in alike)


@pytest.mark.parametrize("data", [None, MANY], ids=["no data", "data"])
def test_what_is_rounded_again_runs_as_it_was_simulated(tmp_path, data):
    torch.manual_seed(0)
    options = None if data is None else tersor.WithData(activation_range=MinMax())
    q = tersor.quantize(Shortcut(), X, data=data, activations=FEW, options=options)
    q.export(tmp_path / "few.onnx")
    proof = q.verify(tmp_path / "few.onnx", torch.randn(64, 3, 8, 8))
    assert proof.sqnr > 60
    assert proof.integer_share == 1
    narrow = [m for node, m in quantizers(q.network) if node.args[0].op == "call_module"]
    wide = [m for node, m in quantizers(q.network) if source(node).name in ("relu", "relu_1")]
    assert len(narrow) == 2
    for few, many in zip(narrow, wide[::2], strict=True):  # 3 steps span what 255 do
        assert few.scale * 3 == pytest.approx(float(many.scale) * 255, rel=0.01)


def test_the_others_have_the_bits_of_the_scheme():
    found = bits({"head": 16})
    assert found.pop("adaptive_avg_pool2d") == 16
    found.pop("flatten", None)
    assert set(found.values()) == {8}


def test_one_pattern_for_all():
    assert set(bits({"*": 5}).values()) == {5}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tail": 4}, "activations: no layer or sub-module is called 'tail'"),
        ({"head": 1}, "activations of .*1 bits"),
    ],
)
def test_refusals(given, said):
    with pytest.raises(InvalidInputError, match=said):
        bits(given)
