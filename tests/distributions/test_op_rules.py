"""How distributions pass through activations and moved values, against samples."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tersor.distributions.propagation import propagate
from tests.distributions.sampling import SAMPLES, assert_moments, folded, normals, result, sampled

ACTIVATIONS = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 0.7),
    "clamp": lambda x: x.clamp(min=-0.3),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "prelu": nn.PReLU(4, init=0.3),
    "one slope": nn.PReLU(1, init=0.2),
    "silu": F.silu,
    "hardswish": F.hardswish,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "sigmoid": torch.sigmoid,
    "hardsigmoid": F.hardsigmoid,
    "tanh": torch.tanh,
    "mish": F.mish,
    "elu": F.elu,
    "softplus": F.softplus,
    "square": lambda x: x**2,
    "swish by hand": lambda x: x * torch.sigmoid(x),
    "hardswish by hand": lambda x: x * F.relu6(x + 3) / 6,
    "clipped twice": lambda x: F.relu6(x).clamp(0.5, 2.0),
    "clip per channel": lambda x: torch.minimum(F.relu(x), bounds()),
    "affine": lambda x: 3 - x * 2 / 5,
    "gelu by hand": lambda x: 0.5 * x * (1 + torch.erf(x * 0.5**0.5)),
}


def bounds():
    return torch.tensor([0.1, 1.0, 2.0, 9.0], dtype=torch.float64).view(4, 1, 1)


@pytest.mark.parametrize("function", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
def test_activations_of_a_batch_norm_have_the_moments_of_samples(function):
    x = normals(SAMPLES, 2, 3, 3)
    network = folded(function, x)
    known, rows = sampled(network, x)
    name = result(network).name
    assert_moments(known[name], rows[name])
    assert not known[name].guess


def test_an_expression_by_hand_is_as_good_as_the_op():
    x = normals(100, 2, 3, 3)
    by_hand, op = (folded(f, x) for f in (lambda x: x * torch.sigmoid(x), F.silu))
    a, b = (propagate(n)[result(n).name] for n in (by_hand, op))
    for name in ("mean", "var", "low", "high"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-9, atol=1e-9)


def shuffle(x):
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


MOVES = {
    "cat": lambda x: torch.cat((F.relu(x), x), 1),
    "chunk": lambda x: x.chunk(2, 1)[1],
    "split": lambda x: torch.cat(x.split([1, 3], 1)[::-1], 1),
    "slice": lambda x: x[:, 1:3, ::2],
    "index": lambda x: x[:, [2, 0, 2]],
    "shuffle": shuffle,
    "channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2).flatten(1),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "tokens": lambda x: x.flatten(2).transpose(1, 2),
    "flatten": lambda x: x.flatten(1),
    "upsample": lambda x: F.interpolate(x, scale_factor=2),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "squeeze": lambda x: x[:, :, 0, 0].unsqueeze(2).squeeze(),
    "zeros around": lambda x: F.pad(x, (1, 0, 2, 1)),
    "zero channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)),
    "reflection": lambda x: F.pad(x[:, :, :1, :1].expand(-1, -1, 2, 2), (1, 1, 1, 1), "reflect"),
    "reflected channels": lambda x: F.pad(x.flatten(2).transpose(1, 2), (1, 2), "reflect"),
    "residual": lambda x: x + F.relu(x),
    "per channel": lambda x: x * bounds() + bounds(),
}


@pytest.mark.parametrize("function", MOVES.values(), ids=MOVES.keys())
def test_moved_values_keep_their_moments(function):
    x = normals(SAMPLES, 2, 3, 3).repeat(1, 1, 2, 2)  # 6×6; conv outputs 4×4
    network = folded(function, x)
    known, rows = sampled(network, x)
    name = result(network).name
    assert_moments(known[name], rows[name])
