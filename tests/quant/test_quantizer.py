"""Quantizer modules and the custom op behind them."""

import copy

import pytest
import torch
from torch import nn

from tersor.core.affine import fake_quantize
from tersor.core.grid import Grid
from tersor.core.ranges import scale_zero_point
from tersor.quant.placement.quantizer import BiasQuantize, FakeQuantize, fake_quantize_op

UINT8 = Grid(8)
INT8 = Grid(8, signed=True, symmetric=True)


@pytest.mark.parametrize(
    ("scale", "zero_point", "axis"),
    [
        (torch.tensor(0.1), torch.tensor(3.0), None),
        (torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.0, 5.0, 255.0]), 1),
        (torch.tensor([0.1, 0.2]), torch.tensor([0, 7]), 0),
    ],
)
def test_the_op_keeps_the_rules_of_custom_ops(scale, zero_point, axis):
    for x in (torch.randn(2, 3, 4), torch.randn(4, 3, 2).transpose(0, 2)):
        torch.library.opcheck(fake_quantize_op, (x, scale, zero_point, 8, False, axis))


def test_the_op_is_the_formula():
    x = torch.randn(5, 3)
    scale, zero_point = torch.tensor([0.01, 0.02, 0.05]), torch.tensor([128, 0, 255])
    got = fake_quantize_op(x, scale, zero_point, 8, False, 1)
    steps = torch.arange(256.0)[:, None]
    grids = (steps - zero_point) * scale  # all values that each channel can take
    nearest = (x[:, None] - grids).abs().argmin(1)
    torch.testing.assert_close(got, grids.gather(0, nearest))


def test_it_is_off_until_it_has_a_range():
    quantizer, x = FakeQuantize(UINT8), torch.randn(3, 4)
    assert quantizer(x) is x
    quantizer.set_range(torch.tensor(-1.0), torch.tensor(3.0))
    assert quantizer.enabled
    assert not torch.equal(quantizer(x), x)
    quantizer.enabled = False
    assert quantizer(x) is x


def test_a_range_is_reached_at_both_ends_and_never_left():
    quantizer = FakeQuantize(UINT8)
    quantizer.set_range(torch.tensor(-1.0), torch.tensor(3.0))
    ends = quantizer(torch.tensor([-100.0, -1.0, 0.0, 3.0, 100.0]))
    step = float(quantizer.scale)
    assert ends[0] == ends[1]
    assert ends[3] == ends[4]
    assert ends[2] == 0
    assert ends[1] == pytest.approx(-1, abs=step)
    assert ends[3] == pytest.approx(3, abs=step)


def test_a_range_per_channel():
    weight = torch.randn(4, 3, 2, 2) * torch.logspace(-2, 2, 4)[:, None, None, None]
    quantizer = FakeQuantize(INT8, axis=0)
    quantizer.set_range(weight.amin((1, 2, 3)), weight.amax((1, 2, 3)))
    assert quantizer.scale.shape == quantizer.zero_point.shape == (4,)
    error = (quantizer(weight) - weight).abs().amax((1, 2, 3))
    assert (error <= quantizer.scale / 2 * (1 + 1e-5)).all()


def test_a_scale_of_its_own():
    quantizer = FakeQuantize(INT8)
    quantizer.set_scale(torch.tensor(0.5, requires_grad=True), torch.tensor(0))
    assert not quantizer.scale.requires_grad
    assert quantizer(torch.tensor([0.3, 1.3, 1000.0])).tolist() == [0.5, 1.5, 63.5]


def test_a_copy_is_apart():
    quantizer = FakeQuantize(UINT8)
    quantizer.set_range(torch.tensor(0.0), torch.tensor(1.0))
    other = copy.deepcopy(quantizer)
    assert other.enabled
    assert other.grid == quantizer.grid
    assert torch.equal(other.scale, quantizer.scale)
    other.set_range(torch.tensor(0.0), torch.tensor(2.0))
    assert not torch.equal(other.scale, quantizer.scale)


def test_scales_are_part_of_the_state():
    quantizer = FakeQuantize(UINT8)
    quantizer.set_range(torch.tensor(-1.0), torch.tensor(1.0))
    state = quantizer.state_dict()
    assert state.keys() == {"scale", "zero_point"}
    other = FakeQuantize(UINT8)
    other.load_state_dict(state)
    assert torch.equal(other.scale, quantizer.scale)
    assert torch.equal(other.zero_point, quantizer.zero_point.to(other.zero_point))


def test_a_bias_is_rounded_to_the_accumulator():
    bias = torch.tensor([0.1234567, -2.0, 1e9])
    read, weight = torch.tensor(0.02), torch.tensor([0.01, 0.003, 0.5])
    got = BiasQuantize()(bias, read, weight)
    scale = read * weight
    torch.testing.assert_close(got[:2] / scale[:2], (bias[:2] / scale[:2]).round())
    assert got[2] < 2**31 * scale[2]  # clipped to 32 bits
    assert got[2] == pytest.approx(float(2**31 * scale[2]), rel=1e-6)
    assert torch.equal(BiasQuantize()(bias, read, weight[0]), fake_quantize(
        bias, read * weight[0], torch.tensor(0), Grid(32, signed=True)
    ))  # fmt: skip


@pytest.mark.parametrize(("bits", "finer"), [(2, 4), (3, 2), (4, 1), (8, 1)])
def test_biases_of_weights_below_four_bits_have_finer_steps(bits, finer):
    grid = Grid(bits, signed=True, symmetric=True)
    edges = FakeQuantize(UINT8), FakeQuantize(grid)
    for edge in edges:
        edge.set_scale(torch.tensor(0.5), torch.tensor(0))
    bias = torch.linspace(-1, 1, 201)
    got = BiasQuantize(*edges)(bias, edges[0].scale, edges[1].scale)
    step = 0.25 / finer
    torch.testing.assert_close(got, (bias / step).round() * step)
    assert finer * grid.qmin >= -8 or bits > 4  # two to a byte


def test_a_bias_is_quantized_only_while_both_edges_are():
    edges = FakeQuantize(UINT8), FakeQuantize(INT8)
    quantizer, bias = BiasQuantize(*edges), torch.tensor([0.3])
    assert quantizer(bias, edges[0].scale, edges[1].scale) is bias
    edges[0].set_scale(*scale_zero_point(torch.tensor(0.0), torch.tensor(1.0), UINT8))
    assert not quantizer.enabled
    edges[1].set_scale(*scale_zero_point(torch.tensor(-1.0), torch.tensor(1.0), INT8))
    assert quantizer.enabled
    assert not torch.equal(quantizer(bias, edges[0].scale, edges[1].scale), bias)


def test_the_edges_of_a_bias_follow_a_copy_and_are_no_modules_of_it():
    edge = FakeQuantize(UINT8)
    model = nn.ModuleDict({"edge": edge, "bias": BiasQuantize(edge)})
    assert model.state_dict().keys() == {"edge.scale", "edge.zero_point"}
    other = copy.deepcopy(model)
    assert other["bias"].edges[0] is other["edge"]
    assert other["bias"].edges[0] is not edge
