"""The test networks are worth testing on: they run in float64 and listen to their inputs."""

import pytest
import torch
from torch.utils._pytree import tree_flatten

from tests.zoo import ZOO

cases = pytest.mark.parametrize("case", ZOO.values(), ids=ZOO.keys())


def outputs(model, case, batch=2, seed=0):
    """The leaves of the model's output in float64."""
    args = case.args(torch.float64, batch, seed)
    with torch.no_grad():
        return tree_flatten(model(*args, **case.kwargs(torch.float64, batch, seed)))[0]


@cases
def test_depends_on_its_inputs_in_float64(case):
    model = case.make().double()
    leaves = zip(
        outputs(model, case, 8), outputs(model, case, 8), outputs(model, case, 8, 1), strict=True
    )
    for first, same, other in leaves:
        assert first.dtype == torch.float64
        assert first.shape[0] == 8
        assert torch.equal(first, same)
        size = first.square().mean().sqrt()
        assert 1e-2 < size < 1e2
        assert (first - other).square().mean().sqrt() > 0.1 * size
        assert first.std(0).mean() > 0.1 * size


@cases
def test_make_gives_equal_weights_and_leaves_the_global_seed_alone(case):
    before = torch.get_rng_state()
    first, second = case.make().state_dict(), case.make().state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@cases
def test_running_statistics_and_gammas_are_not_trivial(case):
    norms = [m for m in case.make().modules() if hasattr(m, "running_mean")]
    for norm in norms:
        assert not norm.training
        assert norm.running_mean.abs().max() > 0
        assert not torch.equal(norm.running_var, torch.ones_like(norm.running_var))
        if norm.affine and norm.num_features > 3:
            assert norm.weight.min() < 0 < norm.weight.max()
