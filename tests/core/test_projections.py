"""Projections and their random bits, against published numbers and the equation."""

import numpy as np
import pytest

from tersor.core.projections import COUNT, projections, random_bits, uniform


def test_the_bits_are_those_of_splitmix64():
    # the first outputs of the reference program for the seed 0
    wanted = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]
    assert random_bits(4, 0).tolist() == wanted
    assert not {*random_bits(1000, 1).tolist()} & {*random_bits(1000, 2).tolist()}


def test_uniform_numbers():
    found = uniform(100_000, 3)
    assert found.min() >= 0
    assert found.max() < 1
    counts, _ = np.histogram(found, 10, (0, 1))
    assert abs(counts - 10_000).max() < 400  # four standard deviations


def test_the_equation():
    x, y = np.random.default_rng(0).standard_normal((2, 300)).astype(np.float32)
    signs = np.array(
        [[1 if int(b) >> k & 1 else -1 for b in random_bits(300, 5)] for k in range(8)]
    )
    np.testing.assert_allclose(projections(x, 5), signs @ x.astype(float), rtol=1e-9)
    squares = [np.square(projections(x, k) - projections(y, k)).mean() for k in range(400)]
    distance = np.square(x - y, dtype=float).sum()
    deviation = distance * np.sqrt(2 / (COUNT * len(squares)))
    assert np.mean(squares) == pytest.approx(distance, abs=4 * deviation)


def test_what_is_no_number_counts_as_zero():
    x = np.array([[1.0, np.nan], [np.inf, 3.0]])
    same = projections(np.array([1, 0, 0, 3]), 1)
    np.testing.assert_array_equal(projections(x, 1), same)
    assert not projections(np.zeros((0, 4)), 1).any()
