"""BatchNorm folding: what is folded, what stays and why, and what is remembered."""

import pytest
import torch
from torch import nn

from tersor.core.batchnorm_affine import scale_and_shift
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.mode import set_training
from tersor.graph.network import Applied, Skipped
from tersor.graph.simplify import fold, simplify
from tests.captured import assert_same_function, captured
from tests.zoo import ZOO


class Flow(nn.Module):
    """Any function of some modules."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.function(self, x)


def norm(kind, channels, **options):
    """A BatchNorm with statistics that are not trivial."""
    module = kind(channels, **options)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point():
            tensor.data = torch.rand(channels) + (0.5 if name.endswith(("var", "weight")) else -0.5)
    return module


def folded(model, *shape):
    """The network after folding, having checked that its function is unchanged."""
    torch.manual_seed(0)
    model = model.double().eval()
    network = capture(model, torch.randn(2, *shape, dtype=torch.float64))
    fold(network)
    x = torch.randn(3, *shape, dtype=torch.float64)
    assert_same_function(network, model, [((x,), {})], tolerance=1e-12)
    return network


def norms_left(network):
    return [node for node in network.nodes() if "batch_norm" in str(node.target)]


def reasons(network):
    return [record.reason for record in network.records if isinstance(record, Skipped)]


LAYERS = {
    "conv1d": (nn.Conv1d(4, 6, 3, padding=1), nn.BatchNorm1d, 6, (4, 8)),
    "conv2d": (nn.Conv2d(4, 6, 3, stride=2), nn.BatchNorm2d, 6, (4, 8, 8)),
    "conv3d": (nn.Conv3d(2, 3, 3, bias=False), nn.BatchNorm3d, 3, (2, 4, 4, 4)),
    "same": (nn.Conv2d(4, 6, 3, padding="same"), nn.BatchNorm2d, 6, (4, 8, 8)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d, 8, (4, 8, 8)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d, 6, (4, 8, 8)),
    "linear": (nn.Linear(4, 6), nn.BatchNorm1d, 6, (4,)),
    "linear_no_bias": (nn.Linear(4, 6, bias=False), nn.BatchNorm1d, 6, (4,)),
    "transposed1d": (nn.ConvTranspose1d(4, 6, 3, stride=2), nn.BatchNorm1d, 6, (4, 5)),
    "transposed2d": (nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d, 6, (4, 5, 5)),
    "transposed_grouped": (nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d, 6, (4, 5, 5)),
    "transposed3d": (nn.ConvTranspose3d(2, 3, 2, bias=False), nn.BatchNorm3d, 3, (2, 3, 3, 3)),
}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("layer", "kind", "channels", "shape"), LAYERS.values(), ids=LAYERS)
def test_folds_into_the_layer_before(layer, kind, channels, shape, affine):
    network = folded(nn.Sequential(layer, norm(kind, channels, affine=affine)), *shape)
    (record,) = network.records
    assert isinstance(record, Applied)
    assert record.numbers["channels"] == channels
    assert not norms_left(network)
    assert set(network.module.state_dict()) == {"0.weight", "0.bias"}


UNPADDED = {
    "conv1d": (nn.Conv1d(4, 6, 3, bias=False), nn.BatchNorm1d, 4, (4, 8)),
    "conv2d": (nn.Conv2d(4, 6, 3, stride=2), nn.BatchNorm2d, 4, (4, 8, 8)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d, 4, (4, 8, 8)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, bias=False), nn.BatchNorm2d, 4, (4, 8, 8)),
    "valid": (nn.Conv2d(4, 6, 3, padding="valid"), nn.BatchNorm2d, 4, (4, 8, 8)),
    "pointwise_same": (nn.Conv2d(4, 6, 1, padding="same"), nn.BatchNorm2d, 4, (4, 8, 8)),
    "linear": (nn.Linear(4, 6), nn.BatchNorm1d, 4, (4,)),
}


@pytest.mark.parametrize(("layer", "kind", "channels", "shape"), UNPADDED.values(), ids=UNPADDED)
def test_folds_into_the_layer_behind(layer, kind, channels, shape):
    network = folded(nn.Sequential(norm(kind, channels), layer), *shape)
    (record,) = network.records
    assert isinstance(record, Applied)
    assert record.what == "folded into 1 behind it"
    assert not norms_left(network)


def test_folds_into_all_layers_behind():
    model = Flow(
        lambda m, x: m.left(y := m.norm(x)) + m.right(y),
        norm=norm(nn.BatchNorm2d, 3),
        left=nn.Conv2d(3, 4, 1),
        right=nn.Conv2d(3, 4, 1, bias=False),
    )
    network = folded(model, 3, 5, 5)
    assert network.records[0].what == "folded into left, right behind it"


def test_a_shared_layer_behind_a_norm_gets_its_own_weight():
    model = Flow(
        lambda m, x: m.conv(m.norm(x)) + m.conv(x),
        norm=norm(nn.BatchNorm2d, 3),
        conv=nn.Conv2d(3, 4, 1),
    )
    network = folded(model, 3, 5, 5)
    assert not norms_left(network)
    assert [layer.name for layer in layers(network)] == ["conv_2", "conv"]


def test_two_norms_in_a_row_fold_one_after_the_other():
    norms = norm(nn.BatchNorm2d, 4), norm(nn.BatchNorm2d, 4)
    network = folded(nn.Sequential(nn.Conv2d(3, 4, 3), *norms), 3, 6, 6)
    assert not norms_left(network)
    assert torch.equal(network.statistics["conv2d"].mean, norms[1].bias)


def test_linear_over_tokens_is_refused_even_if_the_sizes_agree():
    model = nn.Sequential(nn.Linear(4, 4), norm(nn.BatchNorm1d, 4), nn.Linear(4, 4))
    network = folded(model, 4, 4)
    assert len(norms_left(network)) == 1
    assert "0 has its channels on the last axis" in reasons(network)[0]
    assert "2 has its channels on the last axis" in reasons(network)[0]


def test_padding_takes_a_scale_but_no_shift():
    bn = norm(nn.BatchNorm2d, 3)
    model = nn.Sequential(nn.ReLU(), bn, nn.Conv2d(3, 4, 3, padding=1))
    assert "pads with zeros" in reasons(folded(model, 3, 5, 5))[0]
    bn.bias.data.zero_()
    bn.running_mean.zero_()
    assert not norms_left(folded(model, 3, 5, 5))


def test_refuses_a_layer_whose_output_is_read_elsewhere():
    model = Flow(
        lambda m, x: m.norm(y := m.conv(x)) + y,
        conv=nn.Conv2d(3, 4, 1),
        norm=norm(nn.BatchNorm2d, 4),
    )
    network = folded(model, 3, 5, 5)
    assert "the output of conv is also read elsewhere" in reasons(network)[0]


def test_refuses_a_weight_that_depends_on_the_input():
    model = Flow(
        lambda m, x: m.norm(nn.functional.conv2d(x, m.conv.weight * x.mean())),
        conv=nn.Conv2d(3, 4, 1),
        norm=norm(nn.BatchNorm2d, 4),
    )
    assert "computed" in reasons(folded(model, 3, 5, 5))[0]


def test_refuses_batch_statistics():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    network = capture(model, torch.randn(2, 3, 5, 5))
    fold(network)
    assert "statistics of each batch" in reasons(network)[0]
    assert not network.statistics


def test_refuses_training_mode():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    network = capture(model, torch.randn(2, 3, 5, 5))
    set_training(network, True)
    fold(network)
    assert "training mode" in reasons(network)[0]


def test_statistics_are_beta_and_gamma_also_where_the_norm_stays():
    gone, stays = norm(nn.BatchNorm2d, 4), norm(nn.BatchNorm2d, 4)
    gone.weight.data[1] *= -1
    model = nn.Sequential(nn.Conv2d(3, 4, 1), gone, nn.ReLU(), stays, nn.ReLU())
    network = folded(model, 3, 5, 5)
    for name, module in {"conv2d": gone, "batch_norm_1": stays}.items():
        assert torch.equal(network.statistics[name].mean, module.bias)
        assert torch.equal(network.statistics[name].std, module.weight.abs())


def test_statistics_describe_what_the_layer_puts_out():
    """On inputs like those of the training, the channels have mean β and deviation |γ|."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=None))
    nn.init.normal_(model[1].weight)
    nn.init.normal_(model[1].bias)
    x = torch.randn(64, 3, 8, 8)
    model.train()(x)
    network = capture(model, x[:2])
    fold(network)
    y = network(x).detach()
    notes = network.statistics["conv2d"]
    assert torch.allclose(y.mean((0, 2, 3)), notes.mean, atol=1e-4)
    assert torch.allclose(y.std((0, 2, 3)), notes.std, rtol=1e-2)


def test_a_module_called_twice_with_one_norm_keeps_one_weight():
    network = captured("shared_unit")
    fold(network)
    first, second = list(layers(network))[:2]
    assert first.weight_node is second.weight_node
    assert first.bias_node is second.bias_node
    assert first.name == "unit.0"
    assert len([r for r in network.records if isinstance(r, Applied)]) == 1
    assert {"conv2d", "conv2d_1"} <= set(network.statistics)


def test_a_module_called_twice_with_two_norms_gets_two_weights():
    network = captured("shared_conv")
    fold(network)
    (_, first, second, _) = layers(network)
    assert first.weight_node is not second.weight_node
    assert any("shared its weight" in record.what for record in network.records)


SKIPPED = {"bn_before_conv": 1, "densenet": 5}


@pytest.mark.parametrize("name", ZOO)
def test_every_norm_of_the_zoo_is_folded_or_says_why_not(name):
    network = captured(name)
    simplify(network)
    assert len(norms_left(network)) == len(reasons(network)) == SKIPPED.get(name, 0)
    assert set(network.statistics) <= {node.name for node in network.nodes()}
    norm_tensors = [key for key in network.module.state_dict() if "running" in key]
    assert len(norm_tensors) == 2 * SKIPPED.get(name, 0)


def test_scale_and_shift_are_those_of_torch():
    torch.manual_seed(0)
    gamma, beta, mean, x = torch.randn(4, 5, dtype=torch.float64)
    var = torch.rand(5, dtype=torch.float64)
    scale, shift = scale_and_shift(gamma, beta, mean, var, eps=1e-3)
    expected = nn.functional.batch_norm(x[None], mean, var, gamma, beta, eps=1e-3)[0]
    assert torch.allclose(scale * x + shift, expected, rtol=1e-12)
