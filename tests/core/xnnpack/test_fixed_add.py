"""Sums with fixed multipliers; real numbers are the oracle here, and the kernels elsewhere."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tersor.core.mlas.integer_add import Stepped
from tersor.core.xnnpack.fixed_add import fixed_add

STEPS = st.floats(1e-4, 10)
ZEROS = st.integers(-128, 127)


def stepped(scale, zero_point):
    return Stepped(torch.tensor(scale), zero_point)


@given(STEPS, STEPS, STEPS, ZEROS, ZEROS, ZEROS)
def test_it_rounds_the_real_sum(s_a, s_b, s_c, z_a, z_b, z_c):
    of_a, of_b, of_c = stepped(s_a, z_a), stepped(s_b, z_b), stepped(s_c, z_c)
    a = torch.randint(-128, 128, (500,))
    b = torch.randint(-128, 128, (500,))
    found = fixed_add(a, of_a, b, of_b, of_c, (-128, 127))
    steps = [x.scale.double() for x in (of_a, of_b, of_c)]
    real = ((a - z_a) * steps[0] + (b - z_b) * steps[1]) / steps[2] + z_c
    apart = (found - real.clamp(-128, 127)).abs()
    assert bool((apart <= 0.5 + 512 * 2.0**-20 * max(s_a, s_b) / s_c).all())


def test_ties_go_up():
    half, one = stepped(0.5, 0), stepped(1.0, 0)
    a = torch.tensor([1, 3, -1, -3])
    found = fixed_add(a, half, torch.zeros_like(a), half, one, (-128, 127))
    assert found.tolist() == [1, 2, 0, -1]


def test_a_multiplier_has_21_bits():
    of_a, of_b = stepped(0.0033865137957036495, -128), stepped(0.007843137718737125, 0)
    of_c = stepped(0.004212719853967428, -128)
    a, b = torch.tensor([-59]), torch.tensor([7])  # -59.49997 in real numbers
    assert fixed_add(a, of_a, b, of_b, of_c, (-128, 127)).tolist() == [-60]
