"""Oscillation: counted as written down, by hand."""

import pytest
import torch

from tersor.core.oscillation import Oscillation, distance_to_grid


def test_only_turns_are_counted():
    """Five weights: at rest, climbing, jumping to and fro, turning after a pause, and falling."""
    path = torch.tensor(
        [[0, 0, 0, 0, 0], [0, 1, 1, 1, -1], [0, 2, 0, 1, -2], [0, 3, 1, 1, -3], [0, 4, 0, 0, -4]],
        dtype=torch.float64,
    )
    m = 0.1
    seen = Oscillation.begin(path[0])
    for integers in path[1:]:
        seen.observe(integers, m)
    turns = [[], [], [2, 3, 4], [4], []]
    expected = [sum(m * (1 - m) ** (4 - t) for t in steps) for steps in turns]
    torch.testing.assert_close(seen.frequency, torch.tensor(expected, dtype=torch.float64))
    mean = path[0]
    for integers in path[1:]:
        mean = (1 - m) * mean + m * integers
    torch.testing.assert_close(seen.mean, mean)
    assert seen.exceeds(0.09).tolist() == [False, False, True, True, False]
    assert seen.exceeds(0.2).tolist() == [False, False, True, False, False]


def test_the_distance_pulls_to_the_middle_and_leaves_what_is_clipped():
    weight = torch.tensor([0.6, 0.5, -9.0, 0.9], requires_grad=True)
    rounded = torch.tensor([0.5, 0.5, -1.0, 1.0])
    loss = distance_to_grid(weight, rounded, torch.tensor(-1.0), torch.tensor(1.0))
    assert loss.item() == pytest.approx(0.02)
    loss.backward()
    torch.testing.assert_close(weight.grad, torch.tensor([0.2, 0.0, 0.0, -0.2]))
