"""Moments that are added up batch by batch are those of all samples at once."""

import pytest
import torch
from torch import nn

from tersor.data.walk.gram import moments_of
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.graph.layers import layers


@pytest.mark.parametrize("inputs", [5, 300])
def test_moments_of_a_linear_layer(inputs):
    x = torch.randn(70, inputs, generator=torch.manual_seed(0), dtype=torch.float64)
    network = capture(nn.Sequential(nn.Linear(inputs, 4)).double(), x[:2])
    (layer,) = layers(network)
    with torch.no_grad():
        y = network(x) + 1
    pairs = zip(x.split(30), y.split(30), strict=True)
    found = moments_of(layer, pairs, 1, torch.Generator().manual_seed(0))
    free = y - layer.bias.detach()
    assert torch.allclose(found.problem.gram[0], x.T @ x / 70)
    assert torch.allclose(found.problem.target[0], free.T @ x / 70)
    assert torch.allclose(found.problem.energy[0], free.square().mean(0))
    assert torch.allclose(found.inputs[0], x.mean(0))
    assert torch.allclose(found.outputs[0], free.mean(0))


def test_moments_of_groups():
    x = torch.randn(6, 8, 5, 5, generator=torch.manual_seed(1), dtype=torch.float64)
    module = nn.Sequential(nn.Conv2d(8, 4, 3, groups=4, bias=False)).double()
    (layer,) = layers(capture(module, x[:2]))
    with torch.no_grad():
        y = module(x)
    pairs = zip(x.split(4), y.split(4), strict=True)
    found = moments_of(layer, pairs, 9, torch.Generator().manual_seed(0))
    patches = nn.functional.unfold(x, 3).reshape(6, 4, 18, 9)
    assert torch.allclose(found.problem.gram, torch.einsum("ngip,ngjp->gij", patches, patches) / 54)


@pytest.mark.parametrize(("scale", "what"), [((1e30, 1), "reads"), ((1, 1e30), "writes")])
def test_values_whose_squares_are_beyond_float32(scale, what):
    x = torch.randn(7, 5, generator=torch.manual_seed(0))
    network = capture(nn.Sequential(nn.Linear(5, 4)), x[:2])
    (layer,) = layers(network)
    pairs = [(x * scale[0], torch.ones(7, 4) * scale[1])]
    with pytest.raises(InvalidInputError, match=f"layer '0' {what} values whose squares"):
        moments_of(layer, pairs, 1, torch.Generator().manual_seed(0))
