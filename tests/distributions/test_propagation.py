"""Distributions that travel through a network, against samples of the same values."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tersor.distributions.propagation import infer_input_mean, propagate
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.network import Gaussian
from tersor.graph.simplify import fold
from tersor.quant.placement.place import place
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tests.captured import captured
from tests.distributions.sampling import SAMPLES, calibrated, folded, normals, result, sampled
from tests.zoo import ZOO


def test_every_position_of_a_flattened_map_counts():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(16, 3)

        def forward(self, x):
            return self.linear(F.relu(x).flatten(1))

    x = normals(SAMPLES, 2, 4, 4)
    network = folded(Net(), x)
    known, rows = sampled(network, x)
    name = result(network).name
    error = 5 * rows[name].std(1) / SAMPLES**0.5
    assert bool(((known[name].mean - rows[name].mean(1)).abs() < error).all())
    assert known[name].guess


LAYERS = {
    "conv": lambda: nn.Conv2d(4, 6, 2),
    "grouped": lambda: nn.Conv2d(4, 6, 2, groups=2),
    "depthwise": lambda: nn.Conv2d(4, 8, 2, groups=4),
    "padded": lambda: nn.Conv2d(4, 6, 3, padding=1),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
def test_mean_behind_a_layer_without_statistics_is_exact(layer):
    x = normals(SAMPLES, 2, 4, 4)  # 2×2 outputs of the first convolution
    torch.manual_seed(3)
    network = folded(nn.Sequential(nn.ReLU(), layer()), x)
    known, rows = sampled(network, x)
    name = result(network).name
    assert known[name].guess
    error = 6 * rows[name].std(1) / SAMPLES**0.5
    assert bool(((known[name].mean - rows[name].mean(1)).abs() < error).all())
    assert bool((known[name].low < known[name].mean).all())
    assert bool((known[name].mean < known[name].high).all())


def test_variance_behind_a_layer_is_exact_for_independent_inputs():
    x = normals(SAMPLES, 2, 3, 3)
    network = folded(nn.Sequential(nn.ReLU(), nn.Conv2d(4, 6, 1)), x)
    conv = next(layers(network))
    weight = torch.eye(4, 18, dtype=torch.float64)  # four different inputs: independent outputs
    conv.set_grouped_weight(weight.reshape(1, 4, 2, 3, 3))
    conv.set_bias(torch.tensor([0.3, -0.5, 1.0, 0.0], dtype=torch.float64))
    network.statistics[conv.node.name] = Gaussian(conv.bias.detach(), torch.ones(4).double())
    known, rows = sampled(network, x)
    name = result(network).name
    torch.testing.assert_close(known[name].var, rows[name].var(1), rtol=0.03, atol=0)


def test_gates_multiply_as_independent_values():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.expand = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return x * torch.sigmoid(self.expand(F.adaptive_avg_pool2d(x, 1)))

    network = folded(Gate(), normals(200, 2, 6, 6))
    known = propagate(network)
    gate, product = (known[n.name] for n in network.graph.nodes if n.name in ("sigmoid", "mul"))
    value = known[next(layers(network)).node.name]
    torch.testing.assert_close(product.mean, value.mean * gate.mean)
    assert bool((gate.low >= 0).all())
    assert bool((gate.high <= 1).all())
    assert bool((product.high <= value.high.clamp(min=0) * gate.high + 1e-9).all())


def test_pooling_keeps_the_range_and_reads_its_zero_padding():
    x = normals(500, 2, 6, 6)
    shifted = nn.Sequential(nn.Hardtanh(2.0, 3.0), nn.AvgPool2d(3, 1, padding=1))
    known = propagate(network := folded(shifted, x))
    pooled = known[result(network).name]
    assert pooled.low.tolist() == [0.0] * 4
    known = propagate(network := folded(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), x))
    assert known["max_pool2d"] == known["relu"]


def test_normalisations_that_stay_are_known_from_their_parameters():
    x = normals(SAMPLES, 4, 2, 2)
    network = capture(calibrated(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4)), x), x[:2])
    fold(network)
    known, rows = sampled(network, x)
    name = result(network).name
    torch.testing.assert_close(known[name].mean, rows[name].mean(1), rtol=0, atol=1e-6)
    torch.testing.assert_close(known[name].std, rows[name].std(1), rtol=1e-3, atol=0)
    assert not known[name].guess
    norm = nn.LayerNorm(5)
    norm.weight.data.uniform_(0.5, 1.0, generator=torch.manual_seed(0))
    network = capture(nn.Sequential(norm), torch.randn(2, 3, 5))
    (value,) = propagate(network).values()
    torch.testing.assert_close(value.std, norm.weight.detach())
    assert value.axis == 2
    assert value.guess


@pytest.mark.parametrize("name", ["resnet", "mobilenetv2", "shufflenet", "efficientnet", "decoder"])
def test_real_architectures_are_known_throughout(name):
    network = captured(name)
    fold(network)
    case = ZOO[name]
    x = case.args(torch.float64, 256, 5)[0]
    known, rows = sampled(network, x)
    behind_a_norm = [n for n in network.statistics if n in rows]
    assert len(behind_a_norm) == len(network.statistics)
    computed = [n for n in network.graph.nodes if n.op == "call_function" and "val" in n.meta]
    maps = [n for n in computed if getattr(n.meta["val"], "ndim", 0) == 4]
    assert all(n.name in known for n in maps)
    sure = [n.name for n in maps if not known[n.name].guess and n.meta["val"].shape[-1] > 1]
    assert len(sure) > len(maps) / 2
    for node in sure:
        spread = rows[node].std(1).mean()
        assert (known[node].mean - rows[node].mean(1)).abs().mean() < 0.15 * spread, node


def test_input_mean_is_inferred_from_the_first_batch_norm():
    mean = torch.tensor([0.3, -0.5, 1.0], dtype=torch.float64)
    x = normals(4000, 3, 6, 6) + mean.view(3, 1, 1)
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    network = capture(calibrated(nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU()), x), x[:2])
    fold(network)
    (layer,) = layers(network)
    found = infer_input_mean(layer, network.statistics, x.shape)
    torch.testing.assert_close(found, x.mean((0, 2, 3)), rtol=0, atol=0.003)
    (name,) = [n.name for n in network.graph.nodes if n.op == "placeholder"]
    known = propagate(network)[name]
    torch.testing.assert_close(known.mean, found)
    assert bool(known.high.isinf().all())
    clipped = propagate(network, {name: (-0.4, 2.0)})[name]
    torch.testing.assert_close(clipped.mean, found.clamp(-0.4, 2.0))
    assert clipped.low.tolist() == [-0.4] * 3


def test_an_input_without_statistics_is_uniform_and_its_layers_are_guesses():
    network = capture(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), torch.randn(2, 3, 4, 4))
    (name,) = [n.name for n in network.graph.nodes if n.op == "placeholder"]
    assert propagate(network) == {}
    known = propagate(network, {name: (0.0, 1.0)})
    assert known[name].mean.tolist() == [0.5] * 3
    assert not known[name].guess
    assert known["relu"].guess


def test_quantizers_are_looked_through():
    network = captured("resnet")
    fold(network)
    before = propagate(network)
    place(network, ONNXRUNTIME_CPU)
    after = propagate(network)
    assert before.keys() <= after.keys()
    for name, known in before.items():
        assert torch.equal(known.mean, after[name].mean)
        assert torch.equal(known.high, after[name].high)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"y": (0.0, 1.0)}, "'y'"),
        ({"x": (1.0, 0.0)}, "no range"),
        ({"x": (0.0, float("inf"))}, "inf"),
    ],
)
def test_input_ranges_are_checked(ranges, message):
    class Net(nn.Module):
        def forward(self, x):
            return F.relu(x)

    with pytest.raises(InvalidInputError, match=message):
        propagate(capture(Net(), torch.randn(2, 3)), ranges)


def test_integers_moved_to_the_size_of_the_batch_have_no_distribution():
    class Typed(nn.Module):
        """Token types that are a buffer, expanded to the batch."""

        def __init__(self):
            super().__init__()
            self.types = nn.Embedding(2, 4)
            self.linear = nn.Linear(4, 3)
            self.register_buffer("type_ids", torch.tensor([[0, 1, 1]]))

        def forward(self, x):
            return self.linear(x + self.types(self.type_ids.expand(x.shape[0], -1)))

    network = capture(Typed(), normals(4, 3, 4).float())
    known = propagate(network)
    assert "expand" not in known
    assert "embedding" in known
