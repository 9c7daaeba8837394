"""Random pictures have the edges and plain faces that photographs have."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tersor.data.invented.dead_leaves import dead_leaves
from tersor.data.invented.plausible import picture_noise
from tersor.data.pictures.photographs import photographs


def _drawn(count, colours=3, height=96, width=96, seed=0):
    return dead_leaves(count, colours, height, width, torch.Generator().manual_seed(seed))


def _kurtosis(x):
    """Of differences between neighbours: 3 if they are Gaussian, far more for photographs."""
    steps = x.diff(dim=-1).flatten(1)
    return (steps.pow(4).mean(1) / steps.square().mean(1).square()).median().item()


@given(
    st.integers(1, 3),
    st.sampled_from([1, 3, 4]),
    st.integers(16, 60),
    st.integers(16, 60),
    st.integers(0, 9),
)
def test_pictures_have_any_shape_and_few_colours(count, colours, height, width, seed):
    x = _drawn(count, colours, height, width, seed)
    assert x.shape == (count, colours, height, width)
    assert x.abs().max() <= 3**0.5  # √12 / 2
    assert all(len(picture.flatten(1).unique(dim=1).T) <= 150 for picture in x)


def test_the_seed_counts():
    one, again, other = (_drawn(2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_pictures_have_edges_as_photographs_have():
    found = photographs(12, 3, 96, 96)
    assert found is not None
    noise = picture_noise((12, 3, 96, 96), torch.Generator().manual_seed(0))
    assert _kurtosis(noise) < 4
    assert _kurtosis(found) > 8
    assert _kurtosis(_drawn(12)) > 8


def test_pictures_are_unbiased():
    x = _drawn(200)
    assert abs(x.mean().item()) < 0.05
    assert 0.6 < x.std().item() < 1
