"""The factors of SmoothQuant, compared with the paper's equation and with an integer product."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tersor.core.grid import Grid
from tersor.core.smoothing import Readers, best_smoothing, smoothing_error, smoothing_scale

UINT8, INT8 = Grid(8), Grid(8, signed=True, symmetric=True)
FINE = Grid(16)


def rounded(weight):
    """One scale for each output, -127…127."""
    step = weight.abs().amax(1, keepdim=True) / 127
    return torch.round(weight / step) * step


def readers(rows, *weights, grid=UINT8):
    reach = torch.cat(weights).abs().amax(0)
    return Readers(rows, grid, [(weight, rounded) for weight in weights], reach)


def outlying(rows=200, inputs=16, outputs=12, seed=0):
    """Rows with two channels that are fifty times as large as the others, and a weight."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, inputs, generator=generator)
    x[:, :2] *= 50
    return x, torch.randn(outputs, inputs, generator=generator)


@given(st.integers(1, 6), st.floats(0.05, 1.0), st.integers(0, 1000))
def test_the_equation_of_the_paper_up_to_one_factor(channels, strength, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs, weights = torch.rand(2, channels, generator=generator, dtype=torch.float64) + 0.1
    want = [x**strength / w ** (1 - strength) for x, w in zip(inputs, weights, strict=True)]
    mean = math.exp(sum(map(math.log, want)) / channels)
    got = smoothing_scale(inputs, weights, strength)
    assert got.tolist() == pytest.approx([float(x) / mean for x in want])


def test_strength_1_gives_all_channels_one_range_and_a_floor_leaves_small_ones_small():
    inputs, weights = torch.tensor([100.0, 10.0, 1.0]), torch.tensor([1.0, 2.0, 3.0])
    reach = inputs / smoothing_scale(inputs, weights, 1.0)
    assert reach.tolist() == pytest.approx([float(reach[0])] * 3)
    reach = inputs / smoothing_scale(inputs, weights, 1.0, floor=0.05)
    assert (reach / reach[0]).tolist() == pytest.approx([1.0, 1.0, 0.2])


def test_channels_and_columns_of_zeros_get_finite_factors():
    found = smoothing_scale(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 0.0, 1.0]), 0.8)
    assert bool((found.isfinite() & (found > 0)).all())
    assert smoothing_scale(torch.zeros(2), torch.ones(2), 0.8).tolist() == [1.0, 1.0]


def error_in_integers(x, weight, low, high, scale):
    """The same error from the integers that a kernel multiplies, in NumPy."""
    x, weight, scale = (value.double().numpy() for value in (x, weight, scale))
    ends = min((low.numpy() / scale).min(), 0), max((high.numpy() / scale).max(), 0)
    step = (ends[1] - ends[0]) / 255
    zero = np.round(-ends[0] / step)
    q = np.clip(np.round(x / scale / step) + zero, 0, 255)
    steps = np.abs(weight * scale).max(1) / 127
    k = np.round(weight * scale / steps[:, None])
    found = (q - zero) @ k.T * step * steps
    wanted = x @ weight.T
    return ((found - wanted) ** 2).sum() / (wanted**2).sum()


@given(st.integers(0, 1000), st.floats(0.0, 1.0))
def test_the_error_is_that_of_a_product_of_integers(seed, strength):
    x, weight = outlying(seed=seed)
    low, high = x.amin(0), x.amax(0)
    scale = smoothing_scale(x.abs().amax(0), weight.abs().amax(0), strength)
    want = error_in_integers(x, weight, low, high, scale)
    got = smoothing_error(readers(x, weight), low, high, scale)
    assert got == pytest.approx(want, rel=0.02)  # float32 rounds a few values the other way


def test_several_layers_count_alike():
    x, weight = outlying()
    other = 100 * outlying(seed=1)[1]
    ends, one = (x.amin(0), x.amax(0)), torch.ones(16)
    each = [smoothing_error(readers(x, w), *ends, one) for w in (weight, other)]
    assert smoothing_error(readers(x, weight, other), *ends, one) == pytest.approx(sum(each) / 2)


def test_the_best_candidate_by_trying_all():
    x, weight = outlying()
    held, ends = x[150:], (x[:150].amin(0), x[:150].amax(0))
    candidates = [(a, f) for a in (0.5, 0.7, 0.9) for f in (0.01, 0.3)]
    task = readers(held, weight)
    found, before = best_smoothing(task, *ends, candidates)
    errors = {}
    for a, f in [(0.0, 0.0), *candidates]:
        reach = torch.maximum(ends[0].abs(), ends[1].abs())
        scale = smoothing_scale(reach, weight.abs().amax(0), a, f)
        errors[a, f] = smoothing_error(task, *ends, scale)
    assert (found.strength, found.floor) == min(errors, key=errors.__getitem__)
    assert found.error == min(errors.values())
    assert before == errors[0.0, 0.0]
    assert found.error < before / 4  # six decibels


def test_nothing_is_done_where_nothing_helps():
    """A row of ones has no noise; with factors in powers other than 2 it would get some."""
    rows, weight = torch.ones(8, 4), torch.tensor([[1.0, 2.0, 4.0, 127.0]])
    found, before = best_smoothing(readers(rows, weight), rows[0], rows[0], [(0.5, 0.1)])
    assert (found.strength, found.error) == (0.0, before)
    assert found.scale.tolist() == [1.0] * 4


@given(st.integers(0, 1000), st.floats(0.0, 1.0), st.floats(0.0, 0.5))
def test_the_function_stays(seed, strength, floor):
    x, weight = outlying(seed=seed)
    scale = smoothing_scale(x.abs().amax(0), weight.abs().amax(0), strength, floor)
    torch.testing.assert_close((x / scale) @ (weight * scale).T, x @ weight.T, rtol=1e-5, atol=1e-3)
