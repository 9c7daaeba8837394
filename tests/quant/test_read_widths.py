"""Bits of activations by the name of the layer that reads them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tersor
from tersor.errors import InvalidInputError
from tersor.graph.network import source
from tersor.quant.place import quantizers


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


def bits(activations, **options):
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    q = tersor.quantize(Residual(), x, activations=activations, **options)
    return {
        source(node).name: module.grid.bits
        for node, module in quantizers(q.network)
        if source(node).op != "get_attr"
    }


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
    assert bits({"*": 8, "left": 4, "right": 3})["relu"] == 4


def test_functions_decide_where_no_layer_does():
    found = bits({"*": 4, "add*": 8})
    assert found["relu_1"] == found["conv2d_2"] == 8  # what the sum reads
    assert found["relu"] == 4  # convolutions read it


def test_the_others_have_the_bits_of_the_scheme():
    found = bits({"head": 16})
    assert found.pop("adaptive_avg_pool2d") == 16
    found.pop("flatten", None)
    assert set(found.values()) == {8}


def test_one_number_for_all():
    assert set(bits(5).values()) == {5}


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
