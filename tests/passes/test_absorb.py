"""High-bias absorption: exact where its condition holds, small errors elsewhere, refusals."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tersor.frontend.capture import capture
from tersor.graph.network import Applied, Gaussian, Skipped
from tersor.graph.simplify import fold
from tersor.passes.absorb import Absorb, absorb, absorbable
from tests.captured import assert_same_function, outputs

BETA = torch.tensor([4.0, -1.0, 0.5, 9.0], dtype=torch.float64)
GAMMA = torch.tensor([1.0, 1.0, 1.0, -2.0], dtype=torch.float64)
EXPECTED = torch.tensor([1.0, 0.0, 0.0, 3.0], dtype=torch.float64)  # max(0, β − 3|γ|)


class Chain(nn.Module):
    """conv–BatchNorm with high biases, what stands between, and the layers that read it."""

    def __init__(self, between, *readers):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.norm.weight.data = GAMMA.clone()
        self.norm.bias.data = BETA.clone()
        self.between = between
        self.readers = nn.ModuleList(readers)

    def forward(self, x):
        y = self.between(self.norm(self.conv(x)))
        return [reader(y) for reader in self.readers]


def absorbed(model, options=None):
    """The network after absorption, and the model it came from."""
    torch.manual_seed(0)
    model = model.double()
    model.norm.momentum = None  # the statistics become those of the next batch
    model.train()(torch.randn(64, 3, 8, 8, dtype=torch.float64))
    model.eval()
    network = capture(model, torch.randn(2, 3, 8, 8, dtype=torch.float64))
    fold(network)
    absorb(network, options or Absorb())
    return network, model


def records(network, kind):
    absorbed = [record for record in network.records if record.step == "absorb"]
    return [record for record in absorbed if isinstance(record, kind)]


def gentle_inputs(model):
    """Inputs whose pre-activations all lie within 3 standard deviations: the condition holds."""
    x = torch.randn(400, 3, 8, 8, dtype=torch.float64)
    z = model.norm(model.conv(x)).detach()
    reach = 3 * model.norm.weight.abs()[:, None, None]
    inside = ((z - model.norm.bias[:, None, None]).abs() < reach).all((1, 2, 3))
    assert inside.sum() > 4
    return [((x[inside],), {})]


ACTIVATIONS = {
    "relu": nn.ReLU(),
    "leaky": nn.LeakyReLU(0.2),
    "prelu": nn.PReLU(4),
    "dropout": nn.Sequential(nn.Dropout(0.5), nn.ReLU()),
    "clipped far away": nn.Hardtanh(0.0, 20.0),
    "reflected": nn.Sequential(nn.ReLU(), nn.ReflectionPad2d(1)),
}


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_exact_where_its_condition_holds(activation):
    network, model = absorbed(Chain(activation, nn.Conv2d(4, 5, 3), nn.Conv2d(4, 2, 1, bias=False)))
    (record,) = records(network, Applied)
    assert record.numbers == {"channels": 2.0, "largest": pytest.approx(3.0)}
    assert_same_function(network, model, gentle_inputs(model), tolerance=1e-12)
    assert torch.allclose(network.statistics["conv2d"].mean, BETA - EXPECTED)


def test_moves_biases_by_the_formula():
    network, model = absorbed(Chain(nn.ReLU(), reader := nn.Conv2d(4, 5, 3)))
    plain = capture(model, torch.randn(2, 3, 8, 8, dtype=torch.float64))
    fold(plain)
    first = plain.module.get_parameter("conv.bias") - network.module.get_parameter("conv.bias")
    second = network.module.get_parameter("readers.0.bias") - reader.bias
    assert torch.allclose(first, EXPECTED)
    assert torch.allclose(second, reader.weight.sum((2, 3)) @ EXPECTED)


def test_small_error_on_gaussian_inputs_where_the_tails_are_cut():
    network, model = absorbed(Chain(nn.ReLU(), nn.Conv2d(4, 5, 3)))
    x = torch.randn(64, 3, 8, 8, dtype=torch.float64)
    (want,), (got,) = outputs(model, x), outputs(network, x)
    error = (want - got).square().mean() / want.var()
    assert 0 < error < 1e-4


@pytest.mark.parametrize("groups", [1, 4])
def test_exact_inside_but_not_beside_zero_padding(groups):
    reader = nn.Conv2d(4, 4, 3, padding=1, groups=groups)
    network, model = absorbed(Chain(nn.ReLU(), reader), Absorb(borders=True))
    assert "inexact next to its zero padding" in records(network, Applied)[0].what
    ((x,), _) = gentle_inputs(model)[0]
    (want,), (got,) = outputs(model, x), outputs(network, x)
    error = (want - got).abs()
    assert error[..., 1:-1, 1:-1].max() < 1e-12
    assert error[..., 0, :].max() > 1e-3


def test_padding_as_an_op_of_its_own_counts_as_padding():
    between = nn.Sequential(nn.ReLU(), nn.ZeroPad2d((0, 1, 0, 1)))
    network, _ = absorbed(Chain(between, nn.Conv2d(4, 5, 3)), Absorb(borders=True))
    assert "inexact" in records(network, Applied)[0].what
    network, _ = absorbed(Chain(between, nn.Conv2d(4, 5, 3)))
    assert "zeros around" in records(network, Skipped)[0].reason


def test_borders_stay_exact_by_default():
    network, model = absorbed(Chain(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, groups=4)))
    assert "zeros around" in records(network, Skipped)[0].reason
    assert_same_function(network, model, gentle_inputs(model), tolerance=1e-12)


def test_without_activation_the_whole_mean_moves_and_nothing_changes():
    network, model = absorbed(Chain(nn.Identity(), nn.Conv2d(4, 5, 3)))
    x = 10 * torch.randn(8, 3, 8, 8, dtype=torch.float64)
    assert_same_function(network, model, [((x,), {})], tolerance=1e-12)
    assert torch.equal(network.statistics["conv2d"].mean, torch.zeros_like(BETA))


def test_a_clip_that_is_reached_takes_its_channel_out():
    network, model = absorbed(Chain(nn.Hardtanh(0.0, 10.0), nn.Conv2d(4, 5, 3)))
    (record,) = records(network, Applied)
    assert record.numbers == {"channels": 1.0, "largest": pytest.approx(1.0)}
    assert_same_function(network, model, gentle_inputs(model), tolerance=1e-12)


def test_a_clip_per_channel_moves_along():
    class Clip(nn.Module):
        def __init__(self):
            super().__init__()
            self.bound = nn.Parameter(torch.tensor([3.0, 1.0, 2.0, 11.0]).reshape(4, 1, 1))

        def forward(self, x):
            return torch.minimum(x.relu(), self.bound)

    network, model = absorbed(Chain(Clip(), nn.Conv2d(4, 5, 3)))
    assert records(network, Applied)[0].numbers["channels"] == 2
    assert_same_function(network, model, gentle_inputs(model), tolerance=1e-12)


def test_works_between_linear_layers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 5)).double()
    model[1].weight.data, model[1].bias.data = GAMMA.clone(), BETA.clone()
    network = capture(model.eval(), torch.randn(2, 3, dtype=torch.float64))
    fold(network)
    absorb(network)
    x = torch.rand(64, 3, dtype=torch.float64) / 10  # values stay close to their mean
    assert records(network, Applied)
    assert_same_function(network, model, [((x,), {})], tolerance=1e-12)


REFUSED = {
    "SiLU": (nn.SiLU(), nn.Conv2d(4, 5, 1), "silu"),
    "pooling": (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), nn.Conv2d(4, 5, 1), "max_pool2d"),
    "transposed": (nn.ReLU(), nn.ConvTranspose2d(4, 5, 2), "is transposed"),
    "no layer": (nn.ReLU(), nn.Softmax(1), "softmax"),
    "linear over rows": (nn.ReLU(), nn.Linear(8, 8), "on another axis"),
    "channels added": (nn.ConstantPad3d((0, 0, 0, 0, 1, 1), 0.0), nn.Conv2d(6, 5, 1), "pad"),
    "padded with ones": (nn.ConstantPad2d(1, 1.0), nn.Conv2d(4, 5, 1), "pad"),
}


@pytest.mark.parametrize(("between", "reader", "reason"), REFUSED.values(), ids=REFUSED)
def test_refuses_with_a_reason(between, reader, reason):
    network, model = absorbed(Chain(between, reader))
    assert not records(network, Applied)
    assert reason in records(network, Skipped)[0].reason
    assert_same_function(network, model, gentle_inputs(model), tolerance=1e-12)


def test_one_reader_that_cannot_take_it_refuses_for_all():
    network, _ = absorbed(Chain(nn.ReLU(), nn.Conv2d(4, 5, 1), nn.Softmax(1)))
    assert not records(network, Applied)


def test_low_biases_are_left_alone_without_a_record():
    model = Chain(nn.ReLU(), nn.Conv2d(4, 5, 1))
    model.norm.bias.data.zero_()
    network, _ = absorbed(model)
    assert not records(network, (Applied, Skipped))


def test_does_nothing_without_statistics():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, 1))
    model[0].bias.data += 100
    network = capture(model, torch.randn(2, 3, 8, 8))
    before = copy.deepcopy(network.module.state_dict())
    absorb(network)
    assert not network.records
    assert all(torch.equal(x, before[key]) for key, x in network.module.state_dict().items())


@given(
    mean=st.floats(-20, 20),
    std=st.floats(0, 5),
    high=st.floats(1, 40),
    z=st.floats(-1, 1),
)
def test_what_is_absorbed_passes_the_clip_unchanged(mean, std, high, z):
    notes = Gaussian(torch.tensor([mean]), torch.tensor([std]))
    c = float(absorbable(notes, 0.0, high, sigmas=3.0))
    value = mean + 3 * std * z

    def clip(v):
        return min(max(v, 0.0), high)

    assert c >= 0
    if c > 0:
        assert clip(value - c) == pytest.approx(clip(value) - c, abs=1e-4)
