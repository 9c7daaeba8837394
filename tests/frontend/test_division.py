"""Whole numbers divided, also the smallest by −1, on which a processor traps."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import tersor
from tersor.frontend.capture import capture
from tersor.frontend.division import divide_whole
from tests.frontend.onnx.files import model, write

TYPES = {torch.int8: 8, torch.int32: 32, torch.int64: 64}


@st.composite
def pairs(draw):
    dtype = draw(st.sampled_from(list(TYPES)))
    most = 2 ** (TYPES[dtype] - 1)
    whole = st.one_of(st.just(-most), st.just(-1), st.integers(-most, most - 1))
    return dtype, draw(whole), draw(whole.filter(bool))


@given(pairs())
def test_the_quotient_is_that_of_integers_within_the_type(pair):
    dtype, x, y = pair
    quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
    most = 2 ** (TYPES[dtype] - 1)
    expected = (quotient + most) % (2 * most) - most
    a, b = torch.tensor([x], dtype=dtype), torch.tensor([y], dtype=dtype)
    for found in (divide_whole(a, b), divide_whole(a, y), divide_whole(x, b)):
        assert found.dtype == dtype
        assert found.item() == expected


def test_unsigned_numbers():
    x, y = torch.tensor([255, 7], dtype=torch.uint8), torch.tensor([255, 2], dtype=torch.uint8)
    assert divide_whole(x, y).tolist() == [1, 3]


class Divide(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.register_buffer("by", by)

    def forward(self, x, whole):
        least = torch.div(whole, self.by, rounding_mode="trunc")
        return x * torch.div(least, -1, rounding_mode="trunc").sum(1, keepdim=True)


def test_a_captured_division_survives():
    by = torch.tensor([2, -1, -3])
    network = capture(Divide(by), (torch.randn(2, 3), torch.tensor([[4, 5, 6], [7, 8, 9]])))
    x, whole = torch.ones(2, 3), torch.tensor([[9, -7, 10], [1, -(2**63), 5]])
    expected = [-4 - 7 + 3, 0 - 2**63 + 1]
    assert network(x, whole)[:, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("op", ["Div", "Mod"])
def test_a_file_that_divides_the_smallest_number_by_minus_one(op, dtype, tmp_path):
    text = f"""g (float[N, 3] x) => (float[N, 3] y) {{
        c = {op}(a, b) f = Cast <to = 1> (c) r = ReduceMax <keepdims = 0> (f) y = Mul(x, r) }}"""
    made = model(text, a=np.array([np.iinfo(dtype).min], dtype), b=np.array([-1], dtype))
    loaded, _ = tersor.load(write(tmp_path, made))
    expected = float(np.iinfo(dtype).min) if op == "Div" else 0.0
    assert loaded(torch.ones(1, 3))[0].tolist() == [expected] * 3
