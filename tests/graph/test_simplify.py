"""Weights that are computed from stored tensors alone become stored weights."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.simplify import materialize_weights
from tests.captured import assert_same_function, captured


def materialized(model, *shape):
    """The network, having checked that its function is unchanged."""
    torch.manual_seed(0)
    model = model.double().eval()
    network = capture(model, torch.randn(2, *shape, dtype=torch.float64))
    materialize_weights(network)
    x = torch.randn(3, *shape, dtype=torch.float64)
    assert_same_function(network, model, [((x,), {})], tolerance=1e-12)
    return network


class Reparameterised(nn.Module):
    """A 3×3 and a 1×1 branch with one bias each, joined at every call (as RepVGG does)."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(3, 4, 3)
        self.narrow = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        weight = self.wide.weight + F.pad(self.narrow.weight, (1, 1, 1, 1))
        return F.conv2d(x, weight, self.wide.bias + self.narrow.bias, padding=1)


class Blur(nn.Module):
    """A depthwise kernel made of a buffer, repeated for each channel."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kernel", torch.tensor([1.0, 2.0, 1.0]))

    def forward(self, x):
        kernel = self.kernel[:, None] * self.kernel / 16
        return F.conv2d(x, kernel.repeat(3, 1, 1, 1), groups=3)


def test_weight_norm():
    model = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)))
    network = materialized(model, 3, 6, 6)
    assert set(network.module.state_dict()) == {"0.weight", "0.bias"}
    assert torch.allclose(network.module.get_parameter("0.weight"), model[0].weight)


def test_weight_standardisation_keeps_its_name():
    network = captured("standardized")
    before = set(network.module.state_dict())
    materialize_weights(network)
    assert before - set(network.module.state_dict()) == {
        f"1.{name}" for name in ("num_batches_tracked",)
    }
    assert [layer.name for layer in layers(network)] == ["0", "3", "7"]
    assert len(network.records) == 2
    assert all(layer.has_own_weight for layer in layers(network))


def test_weight_and_bias_joined_from_two_modules():
    model = nn.Sequential(Reparameterised())
    network = materialized(model, 3, 6, 6)
    assert set(network.module.state_dict()) == {"0.weight", "0.bias"}


def test_buffer_only_and_no_module_to_be_named_after():
    assert set(materialized(nn.Sequential(Blur()), 3, 6, 6).module.state_dict()) == {"0.weight"}
    assert set(materialized(Blur(), 3, 6, 6).module.state_dict()) == {"conv2d.weight"}


def test_a_raw_tensor_that_is_also_read_elsewhere_stays():
    class Both(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.weight * 2, self.bias) + self.weight.sum()

    network = materialized(nn.Sequential(Both(3, 4, 1)), 3, 5, 5)
    (layer,) = layers(network)
    assert set(network.module.state_dict()) == {"0.weight", "0.bias", "0.weight_2"}
    assert torch.equal(layer.weight, 2 * network.module.get_parameter("0.weight"))


def test_weights_that_depend_on_the_input_or_on_chance_stay_computed():
    class Dynamic(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.weight * x.mean(), self.bias)

    class Noisy(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.weight + 1e-9 * torch.rand_like(self.weight), self.bias)

    for kind in (Dynamic, Noisy):
        network = capture(nn.Sequential(kind(3, 4, 1)), torch.randn(2, 3, 5, 5))
        materialize_weights(network)
        (layer,) = layers(network)
        assert layer.weight_node.op == "call_function"
        assert not network.records
