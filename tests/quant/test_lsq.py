"""Learned quantizers: configurations, starts, and that what is trained is what is exported."""

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import fx, nn

import tersor
from tersor.core.grid import Grid
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.quant.configuration import configured, sign
from tersor.quant.lsq import LSQ, LearnedQuantize, learn, learned_quantizers, settle
from tersor.quant.placement.place import quantizers, weight_quantizer
from tersor.quant.placement.quantizer import BiasQuantize, FakeQuantize
from tests.nets import images, plain

aten = torch.ops.aten


@cache
def _quantized(first_weights):
    """Without equalization, so that activations are those of the model."""
    options = tersor.WithData(equalize=None, rounding=None)
    weights = {"*": 4, "0": first_weights}
    x = images(32)
    return tersor.quantize(plain(), x[:2], data=x, weights=weights, activations=4, options=options)


def quantized(first_weights=4):
    found = _quantized(first_weights)
    return replace(found, network=found.network.copy())


def learning(options=None, q=None):
    q, options = q or quantized(), options or LSQ()
    network = q.network.copy()
    learn(network, [((images(32),), {})], options, q.scheme.pair_safe)
    return network


def with_float_biases(network):
    network = network.copy()
    for module in network.module.modules():
        if isinstance(module, BiasQuantize):
            module.edges = (FakeQuantize(Grid(8)),)  # which is off
    return network


class Functions(nn.Module):
    """A convolution in front of one function."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 4, 3), function
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.last(self.function(self.conv(x)))


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (nn.ReLU(), "positive"),
        (nn.ReLU6(), "positive"),
        (nn.Sigmoid(), "positive"),
        (nn.SiLU(), "bounded"),
        (nn.Hardswish(), "bounded"),
        (nn.GELU(), "bounded"),
        (nn.Mish(), "bounded"),
        (nn.LeakyReLU(), "bounded"),
        (lambda x: x * torch.sigmoid(x), "bounded"),
        (lambda x: torch.sigmoid(x) * x, "bounded"),
        (lambda x: torch.relu(x) * torch.sigmoid(x - 1), "positive"),
        (lambda x: nn.functional.silu(x) * torch.sigmoid(x - 1), "bounded"),
        (lambda x: nn.functional.max_pool2d(torch.relu(x), 2), "positive"),
        (lambda x: torch.relu(x) + torch.relu(-x), "positive"),
        (lambda x: torch.relu(x) + nn.functional.silu(x), "bounded"),
        (lambda x: torch.relu(x) + x, "signed"),
        (lambda x: torch.relu(x) - 1, "signed"),
        (nn.Identity(), "signed"),
        (nn.Tanh(), "signed"),
    ],
)
def test_the_function_before_an_activation_decides(function, kind):
    network = capture(Functions(function), images(2))
    *_, last = layers(network)
    assert sign(last.input) == kind


def test_configurations():
    network = capture(Functions(nn.SiLU()), images(2))
    first, last = layers(network)
    chosen = {n: configured(last.input, Grid(4), n) for n in (1, 2, 3, 4)}
    assert chosen == {
        1: Grid(4, signed=False, symmetric=True),
        2: Grid(4, signed=True, symmetric=True),
        3: Grid(4, signed=True, symmetric=False),
        4: Grid(4, signed=False, symmetric=False),
    }
    assert configured(last.input, Grid(4), "auto") == chosen[4]
    assert configured(first.input, Grid(4), 1) == chosen[2]  # images: half of them is negative
    without_zero_points = Grid(8, signed=True, symmetric=True)
    assert configured(last.input, without_zero_points, "auto") == without_zero_points


def test_sign_of_a_deep_network():
    graph = fx.Graph()
    node = graph.call_function(aten.relu.default, (graph.placeholder("x"),))
    for _ in range(5000):
        node = graph.call_function(aten.flatten.using_ints, (node,))
    assert sign(node) == "positive"


def test_it_takes_the_place_of_every_quantizer_and_gives_it_back():
    q = quantized()
    before = [(node.name, module.grid) for node, module in quantizers(q.network)]
    network = learning(q=q)
    assert quantizers(network) == []
    assert learned_quantizers(network.module)
    settle(network)
    assert [(node.name, module.grid) for node, module in quantizers(network)] == before
    assert all(module.enabled for _, module in quantizers(network))
    assert all(m.enabled for m in network.module.modules() if isinstance(m, BiasQuantize))
    assert learned_quantizers(network.module) == []


def test_keeping_keeps_the_network_as_it_was():
    q = quantized()
    network = learning(LSQ(activations="keep"), q)
    x = images(8)
    with torch.no_grad():
        want = with_float_biases(q.network)(x)
        torch.testing.assert_close(network(x), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("configuration", ["auto", 1, 2, 3, 4])
def test_every_quantizer_learns(configuration, whole):
    network = learning(LSQ(configuration=configuration, whole=whole))
    network.module.requires_grad_(True)
    network(images(16)).square().sum().backward()
    for name, parameter in network.module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    for name, learned in learned_quantizers(network.module):
        assert learned.stretch.grad.count_nonzero(), name
        assert (learned.shift is None) == learned.grid.symmetric, name


@pytest.mark.parametrize("configuration", ["auto", 1, 2, 3, 4])
def test_what_was_trained_is_what_is_exported(configuration, tmp_path):
    """After parameters have moved anywhere, the network with integers computes the same."""
    q = quantized()
    network = learning(LSQ(configuration=configuration), q)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    x = images(8, seed=5)
    with torch.no_grad():
        want = network(x)
        settle(network)
        assert torch.equal(with_float_biases(network)(x), want)
        simulated = network(x)
    path = export_onnx(network, tmp_path / "trained.onnx", scheme=q.scheme).path
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(got, simulated.numpy(), atol=1e-5)


def _few_bits_behind_silu():
    """What SiLU reads has 8 bits, what the layers behind it read 2, their weights 4."""
    torch.manual_seed(0)
    x = images(32)
    few = {"*": 8, "last": 2}
    options = tersor.WithData(equalize=None, rounding=None)
    model = Functions(nn.SiLU()).eval()
    return tersor.quantize(model, x[:2], data=x, weights=4, activations=few, options=options)


@torch.no_grad()
def _moved_and_settled(network, x):
    """With the free offset off the whole steps: what is returned in training, and once settled."""
    (free,) = [found for _, found in learned_quantizers(network.module) if not found.whole]
    free.shift += 0.3  # of a step
    assert abs(free.rest()) > 0.1 * free.scale
    want = network(x)
    settle(network)
    return want, network(x)


def test_an_offset_of_any_size_goes_into_the_bias(tmp_path):
    q = _few_bits_behind_silu()
    network, x = learning(q=q), images(8, seed=5)
    want, simulated = _moved_and_settled(network, x)
    step = want[want != 0].abs().min()
    assert (simulated - want).abs().mean() < 0.01 * step  # hardly any value is rounded otherwise
    path = export_onnx(network, tmp_path / "trained.onnx", scheme=q.scheme).path
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert (torch.from_numpy(got) - simulated).abs().mean() < 0.01 * step


def test_whole_offsets_where_they_are_wanted():
    network = learning(LSQ(whole=True), _few_bits_behind_silu())
    assert all(found.whole for _, found in learned_quantizers(network.module))


def _padded(*behind):
    """What SiLU returns is read with two bits by layers of some padding."""
    torch.manual_seed(0)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.behind = nn.Conv2d(3, 4, 1), nn.ModuleList(behind)

        def forward(self, x):
            x = nn.functional.silu(self.first(x))
            return torch.cat([layer(x).flatten(1) for layer in self.behind], 1)

    x, few = images(32), {"*": 8, "first": 8, "behind.*": 2}
    return tersor.quantize(Model().eval(), x[:2], data=x, weights=4, activations=few)


@pytest.mark.parametrize(
    "behind",
    [
        [nn.Conv2d(4, 2, 3)],
        [nn.Conv2d(4, 2, (3, 1), padding=(1, 0))],
        [nn.Conv2d(4, 2, 3, padding=1, stride=2), nn.Conv2d(4, 4, 3, padding=1, groups=4)],
    ],
)
def test_zeros_around_an_input_are_rounded_as_it_is(behind, tmp_path):
    q = _padded(*behind)
    network, x = learning(q=q), images(8, seed=5)
    want, simulated = _moved_and_settled(network, x)
    with torch.no_grad():
        differs = ~with_float_biases(network)(x).isclose(want, atol=1e-5)
    assert differs.float().mean() < 1e-3  # what lies in the middle of two integers
    path = export_onnx(network, tmp_path / "trained.onnx", scheme=q.scheme).path
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert (~torch.from_numpy(got).isclose(simulated, atol=1e-5)).float().mean() < 1e-3


def test_layers_pad_again_once_training_ends():
    model = tersor.trainable(_padded(nn.Conv2d(4, 2, 3, padding=1)), [images(32)])
    pad = torch.ops.aten.constant_pad_nd.default
    assert pad in [node.target for node in model.network.nodes()]
    found = model.quantized().network
    assert pad not in [node.target for node in found.nodes()]
    assert [layer.pads_with_zeros for layer in layers(found)] == [False, True]


@pytest.mark.parametrize(
    "behind",
    [
        [nn.Conv2d(4, 2, 3, padding=1), nn.Conv2d(4, 2, 3)],
        [nn.Conv2d(4, 2, 3, padding="same")],
        [nn.ConvTranspose2d(4, 2, 3)],
    ],
)
def test_offsets_are_whole_where_readers_do_not_pad_alike(behind):
    found = learned_quantizers(learning(q=_padded(*behind)).module)
    assert all(each.whole for _, each in found)


def test_eight_bit_weights_are_trained_where_no_pair_saturates():
    q = quantized(first_weights=8)
    network = learning(q=q)
    with torch.no_grad():
        network.module.get_parameter("0.weight").mul_(3)  # far beyond the range
        settle(network)
    first = next(iter(layers(network)))
    quantizer = weight_quantizer(first)
    integers = (quantizer(first.weight) / quantizer.scale.view(-1, 1, 1, 1)).round()
    assert integers.min() == -64
    assert integers.max() == 63


def test_scales_stay_positive():
    learned = LearnedQuantize(FakeQuantize(Grid(4)), Grid(4), True, True)
    with torch.no_grad():
        learned.stretch.fill_(-1e4)
    assert (learned.scale > 0).all()
    assert learned(torch.randn(4, 3)).isfinite().all()


def test_the_gradient_scale_does_not_depend_on_the_batch():
    """A batch that is divided among processes teaches the same."""
    learned = LearnedQuantize(FakeQuantize(Grid(4)), Grid(4, symmetric=True), True, True)
    learned.set_range(torch.tensor(0.0), torch.tensor(1.0))
    x = torch.rand(8, 5)
    learned(x).sum().backward()
    whole = learned.stretch.grad.clone()
    learned.stretch.grad = None
    for half in x.split(4):
        learned(half).sum().backward()
    torch.testing.assert_close(learned.stretch.grad, whole)


@pytest.mark.parametrize("start", ["keep", "sigma", "minmax", "mean"])
def test_where_weights_start(start):
    q = quantized()
    network = learning(LSQ(weights=start), q)
    layer = next(iter(layers(network)))
    learned = network.module.get_submodule("quantizers.0_weight")
    w = layer.weight.detach().flatten(1)
    expected = {
        "keep": weight_quantizer(next(iter(layers(q.network)))).scale,
        "sigma": torch.maximum(
            (w.mean(1) - 3 * w.std(1, correction=0)).abs(),
            (w.mean(1) + 3 * w.std(1, correction=0)).abs(),
        ) / 8,
        "minmax": torch.maximum(w.amax(1) / 7, -w.amin(1) / 8),
        "mean": 2 * w.abs().mean(1) / 7**0.5,
    }[start]  # fmt: skip
    torch.testing.assert_close(learned.scale.detach(), expected)


@pytest.mark.parametrize("start", ["mse", "minmax", "mean"])
def test_where_activations_start(start):
    network = learning(LSQ(activations=start))
    with torch.no_grad():
        seen = plain()[:3](images(32))
    learned = next(
        q for _, q in learned_quantizers(network.module) if q.grid.symmetric and not q.grid.signed
    )
    scale = learned.scale.detach()
    if start == "minmax":
        torch.testing.assert_close(scale, seen.max() / 15, rtol=1e-3, atol=0)
    elif start == "mean":
        torch.testing.assert_close(scale, 2 * seen.mean() / 15**0.5, rtol=0.02, atol=0)
    else:

        def error(s):
            return float(((seen / s).round().clamp(0, 15) * s - seen).square().mean())

        assert error(scale) <= min(error(scale * f) for f in (0.8, 1.25)) * (1 + 1e-3)


def test_a_copy_is_apart():
    network = learning()
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.module.parameters():
            parameter.zero_()
    settle(other)
    settle(network)
    for (_, ours), (_, theirs) in zip(quantizers(network), quantizers(other), strict=True):
        assert ours is not theirs
