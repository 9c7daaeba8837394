"""Products with a stored matrix are linear layers."""

import pytest
import torch
from torch import nn

from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.simplify import materialize_weights
from tests.captured import assert_same_function


class Product(nn.Module):
    """A product of the input and a parameter, spelled in several ways."""

    def __init__(self, spelling):
        super().__init__()
        self.spelling = spelling
        self.weight = nn.Parameter(torch.randn(4, 6))
        self.bias = nn.Parameter(torch.randn(6))

    def forward(self, x):
        return self.spelling(x, self.weight, self.bias)


def addmm(x, weight, bias):
    return torch.addmm(bias, x.reshape(-1, 4), weight).reshape(-1, 5, 6)


def scaled(x, weight, bias):
    return torch.addmm(bias, x.reshape(-1, 4), weight, beta=2, alpha=0.5).reshape(-1, 5, 6)


SPELLINGS = {
    "addmm": addmm,
    "at": lambda x, weight, bias: x @ weight + bias,
    "mm": lambda x, weight, bias: torch.mm(x[:, 0], weight) * bias,
}
OTHERS = {
    "scaled": scaled,
    "weight on the left": lambda x, weight, bias: weight.T @ x.transpose(1, 2),
    "two inputs": lambda x, weight, bias: x @ x.transpose(1, 2) + bias[:5],
    "two parameters": lambda x, weight, bias: x.mean(2) * (weight @ bias).mean(),
    "a vector": lambda x, weight, bias: x.sum((0, 1)) @ weight + x.mean((1, 2))[:, None],
}


def network_of(model):
    model = model.double().eval()
    network = capture(model, torch.randn(2, 5, 4, dtype=torch.float64))
    keys = set(network.module.state_dict())
    materialize_weights(network)
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    assert_same_function(network, model, [((x,), {})], tolerance=1e-12)
    return network, keys


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_product_with_a_parameter_is_a_linear_layer(name):
    model = nn.Sequential(Product(SPELLINGS[name]))
    network, keys = network_of(model)
    (layer,) = layers(network)
    assert layer.name == "0"
    assert layer.is_linear
    assert torch.equal(layer.weight, model[0].weight.T)
    assert keys == set(model.state_dict())


@pytest.mark.parametrize("name", OTHERS)
def test_other_products_stay(name):
    network, _ = network_of(nn.Sequential(Product(OTHERS[name])))
    assert not list(layers(network))


def test_a_fixed_matrix_stays():
    model = nn.Module()
    model.register_buffer("matrix", torch.randn(4, 4))
    model.forward = lambda x: x @ model.matrix
    network = capture(nn.Sequential(model), torch.randn(2, 5, 4))
    assert not list(layers(network))


def test_a_matrix_that_is_also_read_elsewhere_stays_as_it_is():
    model = Product(lambda x, weight, bias: (x @ weight + bias) @ weight.T)
    network, _ = network_of(nn.Sequential(model))
    first, second = layers(network)
    assert torch.equal(first.weight, model.weight.T)
    assert torch.equal(second.weight, model.weight)
