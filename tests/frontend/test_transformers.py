"""Norms take up scales, attention passes those of V: what equalization needs on transformers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tersor.channels.partition import channels
from tersor.distributions.propagation import propagate
from tersor.export.onnx.writer import export_onnx
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.capture import capture
from tersor.graph.network import Applied
from tersor.passes.equalize import Equalize, equalize
from tests.captured import assert_same_function

WIDTH, HEADS = 12, 3


class Attention(nn.Module):
    """Attention behind a LayerNorm, written out or fused, with a residual."""

    def __init__(self, mix):
        super().__init__()
        self.mix = mix
        self.norm = nn.LayerNorm(WIDTH)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x):
        y = self.norm(x)
        q, k, v = (
            layer(y).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        return x + self.o(self.mix(q, k, v).transpose(1, 2).flatten(2))


def written_out(q, k, v):
    return F.dropout((q @ k.transpose(-2, -1) / 2).softmax(-1), training=False) @ v


MIXES = {
    "written out": written_out,
    "fused": F.scaled_dot_product_attention,
    "causal": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
}


def attention(mix):
    torch.manual_seed(0)
    model = Attention(mix).eval()
    with torch.no_grad():
        model.norm.weight.uniform_(0.1, 4.0)
        model.norm.bias.normal_()
        model.v.weight *= torch.logspace(-1, 1, WIDTH)[:, None]
    x = torch.randn(4, 7, WIDTH)
    return model, x, capture(model, x)


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES.keys())
@pytest.mark.parametrize("strength", [0.0, 0.25, 0.5])
def test_a_layer_norm_and_the_values_of_attention_are_equalized(mix, strength):
    model, x, network = attention(mix)
    equalize(network, Equalize(strength=strength))
    assert_same_function(network, model, [((x,), {})], tolerance=1e-5)
    done = [record.layer for record in network.records if isinstance(record, Applied)]
    assert done == ["norm → q, k, v", "v → o"]


def test_at_strength_zero_every_channel_of_a_norm_has_the_same_range():
    _, _, network = attention(written_out)
    equalize(network, Equalize(strength=0.0))
    norm = dict(network.module.named_parameters())
    reach = norm["norm.bias"].abs() + 6 * norm["norm.weight"].abs()
    assert torch.allclose(reach, reach[0].expand(WIDTH), rtol=1e-4)


@pytest.mark.parametrize(
    "norm",
    [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), nn.BatchNorm2d(4)],
    ids=lambda norm: type(norm).__name__,
)
def test_other_norms_take_up_scales_too(norm):
    torch.manual_seed(0)
    with torch.no_grad():
        norm.weight.uniform_(0.1, 4.0)
        norm.bias.normal_()
    model = nn.Sequential(nn.MaxPool2d(2), norm, nn.ReLU(), nn.Conv2d(4, 3, 3)).eval()
    x = torch.randn(4, 4, 12, 12)
    network = capture(model, x)
    equalize(network, Equalize(strength=0.0))
    assert_same_function(network, model, [((x,), {})], tolerance=1e-5)
    assert [record.layer for record in network.records if isinstance(record, Applied)] == ["1 → 3"]


@pytest.mark.parametrize(
    "norm",
    [nn.LayerNorm(WIDTH, elementwise_affine=False), nn.LayerNorm((7, WIDTH))],
    ids=["without weight", "over two axes"],
)
def test_a_norm_that_cannot_take_up_a_scale_freezes_its_channels(norm):
    model = nn.Sequential(norm, nn.Linear(WIDTH, 3)).eval()
    partition = channels(capture(model, torch.randn(4, 7, WIDTH)))
    assert not partition.producers[:-1]
    (port,) = partition.consumers
    assert all(int(index) in partition.frozen for index in port.classes)


def test_positions_are_not_mixed_by_other_products():
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.v, self.o = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

        def forward(self, x):
            return self.o(x @ x.transpose(1, 2) @ self.v(x))

    model, x = Weighted().eval(), torch.randn(4, 7, WIDTH)
    network = capture(model, x)
    equalize(network)
    assert not [record for record in network.records if isinstance(record, Applied)]


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES.keys())
def test_the_mean_of_attention_is_that_of_its_values(mix):
    torch.manual_seed(0)
    model = Attention(mix).eval()
    with torch.no_grad():
        model.q.weight.zero_()  # all positions weigh the same, whatever V is
        model.norm.bias.normal_()
    network = capture(model, torch.randn(4, 7, WIDTH))
    known = propagate(network)
    (mixed,) = [n for n in network.nodes() if n.name.startswith("flatten")]
    with torch.no_grad():
        values = model.v(model.norm(torch.randn(5000, 7, WIDTH)))
    found = known[mixed.name]
    assert found.axis == 2
    assert torch.allclose(found.mean, values.mean((0, 1)), atol=0.05)
    assert bool((found.var > 0).all())


class Windows(nn.Module):
    """Attention inside of windows: five axes."""

    def __init__(self, **options):
        super().__init__()
        self.qkv, self.options = nn.Linear(WIDTH, 3 * WIDTH), options

    def forward(self, x):
        y = self.qkv(x).unflatten(1, (-1, 4)).unflatten(-1, (3, HEADS, -1))
        q, k, v = y.permute(3, 0, 4, 1, 2, 5).unbind(0)
        return F.scaled_dot_product_attention(q, k, v, **self.options)


@pytest.mark.parametrize("options", [{}, {"scale": 0.3}, {"attn_mask": torch.randn(4, 4)}])
def test_attention_with_five_axes_is_written_out_and_exports(options, tmp_path):
    torch.manual_seed(0)
    model, x = Windows(**options).eval(), torch.randn(2, 8, WIDTH)
    network = capture(model, x)
    assert_same_function(network, model, [((torch.randn(3, 8, WIDTH),), {})], tolerance=1e-5)
    assert not network.graph.find_nodes(
        op="call_function", target=torch.ops.aten.scaled_dot_product_attention.default
    )
    path = export_onnx(network, tmp_path / "windows.onnx").path
    (found,) = Runtime(path)(x).values()
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(found), model(x), atol=1e-5)


def test_values_between_two_layouts_are_no_numbers():
    class Split(nn.Module):
        def forward(self, x):
            y = x.unflatten(1, (2, -1))
            return (y * y.mean(2, keepdim=True)).flatten(1, 2) + x

    known = propagate(capture(Split(), torch.randn(2, 6, 4, 4)), {"x": (0.0, 1.0)})
    assert known["x"].axis == 1
