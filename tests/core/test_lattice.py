"""The quadratic form against replayed data, and its solvers against brute force."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.core.descent import descend
from tersor.core.grid import Grid
from tersor.core.lattice import closest, enumerate_choices
from tersor.core.pairs import lane_partners
from tersor.core.plane import nearest_plane
from tersor.core.quadratic import Quadratic, best_bias, best_scale, best_weights

GRID = Grid(3, signed=True, symmetric=True)
seeds = st.integers(0, 2**32 - 1)


def data(seed: int, groups=2, outputs=3, inputs=5, samples=40):
    """Float weights, inputs x̂ of the quantized network, and targets y = W x with x near x̂."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weights = normal(groups, outputs, inputs)
    mixing = normal(groups, inputs, inputs)
    x = mixing @ normal(groups, inputs, samples) + normal(groups, inputs, 1)
    given_ = x + 0.1 * normal(groups, inputs, samples)
    return weights, given_, weights @ x


def problem_of(x, y) -> Quadratic:
    samples = x.shape[-1]
    return Quadratic(x @ x.mT / samples, y @ x.mT / samples, y.square().mean(-1))


def scales(weights):
    return weights.abs().amax(-1) / 3


def nearest(weights, scale):
    return (weights / scale[..., None]).round().clamp(GRID.qmin, GRID.qmax)


def reached(problem, integers, scale):
    return problem.error(scale[..., None] * integers)


@given(seeds)
def test_the_form_is_the_replayed_error(seed):
    weights, x, y = data(seed)
    guess = weights + 0.1
    want = (y - guess @ x).square().mean(-1)
    assert torch.allclose(problem_of(x, y).error(guess), want, rtol=1e-8, atol=1e-8)


@given(seeds)
def test_a_free_bias_takes_the_means_out(seed):
    weights, x, y = data(seed)
    guess, mean_x, mean_y = weights + 0.1, x.mean(-1), y.mean(-1)
    bias = best_bias(guess, mean_x, mean_y)
    want = (y - guess @ x - bias[..., None]).square().mean(-1)
    found = problem_of(x, y).centered(mean_x, mean_y).error(guess)
    assert torch.allclose(found, want, rtol=1e-8, atol=1e-8)


@given(seeds)
def test_the_best_weights_are_those_of_least_squares(seed):
    _, x, y = data(seed)
    want = torch.linalg.lstsq(x.mT, y.mT).solution.mT
    assert torch.allclose(best_weights(problem_of(x, y)), want, rtol=1e-6, atol=1e-6)


@given(seeds, st.booleans())
def test_no_other_scale_is_better(seed, shared):
    weights, x, y = data(seed)
    problem, scale = problem_of(x, y), scales(weights)
    integers = nearest(weights, scale)
    best = best_scale(problem, integers, scale, shared)
    least = reached(problem, integers, best).sum()
    for factor in (0.9, 0.999, 1.001, 1.1):
        assert reached(problem, integers, factor * best).sum() >= least - 1e-9
    if shared:
        assert bool((best == best[0, 0]).all())


@given(seeds, st.sampled_from([1, 2, 64]))
def test_descent_ends_where_no_single_weight_can_improve(seed, block):
    weights, x, y = data(seed)
    problem, scale = problem_of(x, y), scales(weights)
    start = nearest(weights, scale)
    found = descend(problem, start, scale, GRID, sweeps=200, block=block)
    least = reached(problem, found, scale)
    assert bool((least <= reached(problem, start, scale) + 1e-9).all())
    for column in range(found.shape[-1]):
        for value in range(GRID.qmin, GRID.qmax + 1):
            other = found.clone()
            other[..., column] = value
            assert bool((reached(problem, other, scale) >= least - 1e-9).all())


@given(seeds)
def test_blocks_do_not_change_the_nearest_plane(seed):
    weights, x, y = data(seed, inputs=7)
    problem, scale = problem_of(x, y), scales(weights)
    whole = nearest_plane(problem, scale, GRID)
    assert torch.equal(whole, nearest_plane(problem, scale, GRID, block=3))
    assert torch.equal(whole, _babai(problem, scale))


def _babai(problem, scale):
    """One row and one column at a time: re-solve for the columns that are still free."""
    result = torch.zeros_like(problem.target)
    for group, gram in enumerate(problem.gram):
        order = gram.diagonal().argsort(descending=True).tolist()
        for row, target in enumerate(problem.target[group]):
            for position, column in enumerate(order):
                free, fixed = order[position:], order[:position]
                known = scale[group, row] * result[group, row]
                rest = target[free] - gram[free][:, fixed] @ known[fixed]
                wanted = torch.linalg.solve(gram[free][:, free], rest)[0]
                z = (wanted / scale[group, row]).round().clamp(GRID.qmin, GRID.qmax)
                result[group, row, column] = z
    return result


@given(seeds)
@settings(max_examples=20)
def test_enumeration_finds_the_best_choice(seed):
    weights, x, y = data(seed, inputs=4)
    problem, scale = problem_of(x, y), scales(weights)
    found, error = enumerate_choices(problem, weights, scale, GRID)
    low = (weights / scale[..., None]).floor()
    every = [
        reached(problem, (low + torch.tensor(ups)).clamp(GRID.qmin, GRID.qmax), scale)
        for ups in itertools.product((0.0, 1.0), repeat=4)
    ]
    assert torch.allclose(error, torch.stack(every).amin(0))
    assert torch.allclose(error, reached(problem, found, scale))


@given(seeds)
@settings(max_examples=30)
def test_solvers_come_close_to_the_optimum(seed):
    weights, x, y = data(seed, groups=1, outputs=2, inputs=4)
    problem, scale = problem_of(x, y), scales(weights)
    values = torch.tensor(
        [*itertools.product(range(GRID.qmin, GRID.qmax + 1), repeat=4)], dtype=torch.float64
    )
    every = torch.stack([reached(problem, v.expand(1, 2, 4), scale) for v in values])
    best = every.amin(0)
    error = reached(problem, closest(problem, weights, scale, GRID).integers, scale)
    start = reached(problem, nearest(weights, scale), scale)
    assert bool((error >= best - 1e-9).all())
    assert bool((error <= start + 1e-9).all())
    assert bool((error - best <= start.max()).all())


@pytest.mark.parametrize("seed", [3, 13, 59, 126, 129, 150])
def test_no_row_ends_worse_than_its_nearest_integers(seed):
    weights, x, y = data(seed, groups=1, outputs=2, inputs=4)
    problem, scale = problem_of(x, y), scales(weights)
    start = reached(problem, nearest(weights, scale), scale)
    plane = descend(problem, nearest_plane(problem, scale, GRID), scale, GRID)
    assert bool((reached(problem, plane, scale) > start).any())
    found = closest(problem, weights, scale, GRID)
    assert bool((reached(problem, found.integers, scale) <= start).all())
    assert torch.allclose(found.product, found.integers @ problem.gram)


def test_the_plane_and_descent_beat_nearest_by_far():
    weights, x, y = data(0, groups=1, outputs=64, inputs=48, samples=400)
    problem, scale = problem_of(x, y), scales(weights)
    plain = reached(problem, nearest(weights, scale), scale).mean()
    plane = nearest_plane(problem, scale, GRID)
    both = descend(problem, plane, scale, GRID)
    assert reached(problem, plane, scale).mean() < 0.5 * plain
    assert reached(problem, both, scale).mean() < reached(problem, plane, scale).mean()


def test_dead_constant_and_repeated_inputs_need_damping_only():
    weights, x, y = data(1, inputs=6)
    x[:, 0], x[:, 1], x[:, 2] = 0.0, 1.0, x[:, 3]
    scale = scales(weights)
    problem = problem_of(x, y).damped(weights, 0.01)
    found = descend(problem, nearest_plane(problem, scale, GRID), scale, GRID)
    assert bool(found.isfinite().all())
    assert torch.equal(found, found.round())
    assert found.min() >= GRID.qmin
    assert found.max() <= GRID.qmax
    # What a dead input's weight is does not matter; damping keeps it at the nearest.
    assert torch.equal(found[..., 0], nearest(weights, scale)[..., 0])


def test_all_inputs_dead():
    weights, x, y = data(2)
    scale = scales(weights)
    problem = problem_of(0 * x, 0 * y).damped(weights, 0.01)
    found = descend(problem, nearest_plane(problem, scale, GRID), scale, GRID)
    assert torch.equal(found, nearest(weights, scale))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_kept(dtype):
    weights, x, y = (t.to(dtype) for t in data(3))
    scale = scales(weights)
    problem = problem_of(x, y).damped(weights, 0.01)
    found = descend(problem, nearest_plane(problem, scale, GRID), scale, GRID)
    assert found.dtype == dtype


def pairs_of(inputs: int, seed: int):
    """Random partners; some columns are alone, whatever their number."""
    order = torch.randperm(inputs, generator=torch.Generator().manual_seed(seed))
    partner = torch.arange(inputs)
    first, second = order[: inputs // 2 * 2].reshape(-1, 2).T[:, : max(1, inputs // 2 - 1)]
    partner[first], partner[second] = second, first
    return partner


def is_allowed(integers, partner):
    """Pair by pair, without the code under test."""
    legal = torch.ones(integers.shape[:-1], dtype=torch.bool)
    for one, other in enumerate(partner.tolist()):
        if one != other:
            total = integers[..., one] + integers[..., other]
            legal &= (total >= GRID.qmin) & (total <= -GRID.qmin)
    inside = (integers >= GRID.qmin) & (integers <= GRID.qmax)
    return legal & inside.all(-1)


@given(seeds, st.sampled_from([1, 2, 64]), st.integers(2, 7), st.sampled_from([0.4, 0.7, 1.0]))
def test_pairs_stay_legal_and_no_legal_move_improves(seed, block, inputs, finer):
    weights, x, y = data(seed, inputs=inputs)
    problem, scale = problem_of(x, y), finer * scales(weights)  # finer: pairs do collide
    partner = pairs_of(inputs, seed)
    start = nearest_plane(problem, scale, GRID, partner, block=block)
    assert bool(is_allowed(start, partner).all())
    found = descend(problem, start, scale, GRID, partner, sweeps=500, block=block)
    assert bool(is_allowed(found, partner).all())
    least = reached(problem, found, scale)
    assert bool((least <= reached(problem, start, scale) + 1e-9).all())
    for column, value in itertools.product(range(inputs), range(GRID.qmin, GRID.qmax + 1)):
        other = found.clone()
        other[..., column] = value
        improves = reached(problem, other, scale) < least - 1e-9
        assert not bool((improves & is_allowed(other, partner)).any())


@given(seeds, st.sampled_from([0.5, 1.0]))
@settings(max_examples=20)
def test_pairs_come_close_to_the_legal_optimum(seed, finer):
    weights, x, y = data(seed, groups=1, outputs=2, inputs=4)
    problem, scale = problem_of(x, y), finer * scales(weights)
    partner = lane_partners(4)
    values = torch.tensor(
        [*itertools.product(range(GRID.qmin, GRID.qmax + 1), repeat=4)], dtype=torch.float64
    )
    values = values[is_allowed(values, partner)]
    every = torch.stack([reached(problem, v.expand(1, 2, 4), scale) for v in values])
    start = nearest_plane(problem, scale, GRID, partner)
    error = reached(problem, descend(problem, start, scale, GRID, partner), scale)
    assert bool((error >= every.amin(0) - 1e-9).all())
    worst = every.median(0).values  # far from the optimum, and yet never reached
    assert bool((error <= worst).all())


@given(seeds)
@settings(max_examples=20)
def test_enumeration_finds_the_best_legal_choice(seed):
    weights, x, y = data(seed, inputs=4)
    problem, scale = problem_of(x, y), 0.7 * scales(weights)
    partner = pairs_of(4, seed)
    found, error = enumerate_choices(problem, weights, scale, GRID, partner)
    low = (weights / scale[..., None]).floor()
    every = []
    for ups in itertools.product((0.0, 1.0), repeat=4):
        z = (low + torch.tensor(ups)).clamp(GRID.qmin, GRID.qmax)
        every.append(reached(problem, z, scale).where(is_allowed(z, partner), torch.inf))
    assert torch.allclose(error, torch.stack(every).amin(0))
    possible = error.isfinite()
    assert torch.allclose(error[possible], reached(problem, found, scale)[possible])
    assert bool(is_allowed(found, partner)[possible].all())


def test_columns_that_meet_none_are_free():
    weights, x, y = data(4)
    problem, scale = problem_of(x, y), 0.5 * scales(weights)
    alone = torch.arange(weights.shape[-1])
    free = nearest_plane(problem, scale, GRID)
    assert torch.equal(nearest_plane(problem, scale, GRID, alone), free)
    assert torch.equal(
        descend(problem, free, scale, GRID, alone), descend(problem, free, scale, GRID)
    )
