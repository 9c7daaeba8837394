"""Classes that are left out together: every odd network computes what zeros in it compute."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tersor.compression.groups import channel_groups
from tests.channels.test_partition import between, conv, network_of, stored
from tests.compression.masks import check_pruning, random_keep

CAP = torch.tensor([0.5, 1.0, 1.5, 2.0]).view(4, 1, 1)


def shuffled_with_batch(x):
    """The first half of a channel shuffle, as detectors write it."""
    n, c, h, w = x.shape
    return x.reshape(n * c // 2, 2, h * w).permute(1, 0, 2).reshape(2, -1, c // 2, h, w)[0]


# name → (network, how many units there are)
MORE = {
    "SiLU": (*between(lambda m, x: F.silu(x)), 4),
    "hardswish": (*between(lambda m, x: F.hardswish(x)), 4),
    "softmax over positions": (*between(lambda m, x: x.flatten(2).softmax(2).view(x.shape)), 4),
    "group norm": (*between(lambda m, x: F.group_norm(x, 2)), 0),
    "layer norm over positions": (*between(lambda m, x: F.layer_norm(x, (4, 4))), 4),
    "layer norm over channels": (
        *between(lambda m, x: F.layer_norm(x.transpose(1, 3), (4,)).transpose(1, 3)),
        0,
    ),
    "instance norm": (
        *between(lambda m, x: F.instance_norm(x, weight=m.g), g=stored(CAP.flatten())),
        4,
    ),
    "gate": (*between(lambda m, x: x * torch.sigmoid(m.c(x)), c=conv(4, 4)), 4),
    "gate of one channel": (*between(lambda m, x: x * torch.sigmoid(m.c(x)), c=conv(4, 1)), 4),
    "gate from a pool": (
        *between(lambda m, x: x * m.c(x.mean((2, 3)))[:, :, None, None], c=nn.Linear(4, 4)),
        4,
    ),
    "half of the channels": (*between(lambda m, x: m.c(x[:, 1:3]) + x, c=conv(2, 4)), 4),
    "every second channel": (*between(lambda m, x: m.c(x[:, ::2]) + x, c=conv(2, 4)), 0),
    "narrowed": (*between(lambda m, x: m.c(x.narrow(1, 1, 2)) + x, c=conv(2, 4)), 4),
    "one of the channels": (*between(lambda m, x: x * x[:, 2:3]), 3),
    "selected channel": (*between(lambda m, x: x * x[:, 2].unsqueeze(1)), 3),
    "rolled over channels": (*between(lambda m, x: x + x.roll(1, 1)), 0),
    "rolled over positions": (*between(lambda m, x: x + x.roll(1, 2)), 4),
    "flipped channels": (*between(lambda m, x: m.c(x.flip(1)), c=conv(4, 4)), 8),
    "split by sizes": (
        *between(lambda m, x: torch.cat([F.relu(p) for p in x.split([1, 3], 1)], 1)),
        3,
    ),
    "split evenly": (*between(lambda m, x: torch.cat(x.split(2, 1)[::-1], 1)), 4),
    "chunks": (*between(lambda m, x: torch.cat(x.chunk(2, 1)[::-1], 1)), 4),
    "chunks of unequal size": (
        lambda m, x: m.b(torch.cat(m.a(x).chunk(2, 1)[::-1], 1)),
        {"a": conv(3, 5), "b": conv(5, 2)},
        5,
    ),
    "unbound channels": (*between(lambda m, x: torch.stack(x.unbind(1), 1)), 0),
    "unflattened": (*between(lambda m, x: x.unflatten(1, (2, 2)).flatten(1, 2)), 2),
    "unflattened and swapped": (
        *between(lambda m, x: x.unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2)),
        2,
    ),
    "channel shuffle": (*between(lambda m, x: F.channel_shuffle(x, 2)), 2),
    "pixel shuffle": (
        lambda m, x: m.b(F.pixel_shuffle(m.a(x), 2)),
        {"a": conv(3, 8), "b": conv(2, 2)},
        2,
    ),
    "shuffle that folds the batch in": (
        lambda m, x: m.b(shuffled_with_batch(m.a(x))),
        {"a": conv(3, 8), "b": conv(4, 2)},
        4,
    ),
    "expanded": (*between(lambda m, x: x * x.mean((2, 3), keepdim=True).expand(-1, 4, 4, 4)), 4),
    "outer product": (
        *between(
            lambda m, x: x.mean((2, 3))[:, :, None, None] * m.c(x).mean(1)[:, None], c=conv(4, 3)
        ),
        4,
    ),
    "grouped": (
        lambda m, x: m.b(m.g(F.silu(m.a(x)))),
        {"a": conv(3, 8), "g": conv(8, 6, groups=2), "b": conv(6, 2)},
        4 + 3,
    ),
    "depthwise with two outputs": (
        lambda m, x: m.b(m.g(F.silu(m.a(x)))),
        {"a": conv(3, 4), "g": conv(4, 8, 3, groups=4), "b": conv(8, 2)},
        4,
    ),
    "transposed, grouped": (
        lambda m, x: m.b(m.g(m.a(x))),
        {"a": conv(3, 8), "g": nn.ConvTranspose2d(8, 6, 2, 2, groups=2), "b": conv(6, 2)},
        4 + 3,
    ),
    "transposed, depthwise": (
        lambda m, x: m.b(m.g(m.a(x))),
        {"a": conv(3, 4), "g": nn.ConvTranspose2d(4, 8, 2, 2, groups=4), "b": conv(8, 2)},
        4,
    ),
    "shared layer": (
        lambda m, x: m.b(F.relu(m.s(F.relu(m.s(m.a(x)))))),
        {"a": conv(3, 4), "s": conv(4, 4), "b": conv(4, 2)},
        4,
    ),
    "stored tensor of which a part is read": (
        *between(lambda m, x: x * m.gain[:4], gain=stored(torch.randn(6, 1, 1))),
        0,
    ),
    "padded channels": (
        *between(lambda m, x: F.pad(x, (0, 0, 0, 0, 2, 1), value=0.5), b=conv(7, 2)),
        4,
    ),
    "flattened maps": (
        *between(lambda m, x: m.c(F.relu(x).flatten(1)), c=nn.Linear(64, 3), b=nn.Linear(3, 2)),
        4 + 3,
    ),
}


@pytest.mark.parametrize("name", MORE)
def test_units_can_go_together(name):
    forward, parts, expected = MORE[name]
    network = network_of(forward, **parts)
    assert sum(map(len, channel_groups(network).found)) == expected
    check_pruning(network, random_keep(network, 0.6))


@pytest.mark.parametrize("name", ["channel shuffle", "chunks of unequal size", "padded channels"])
def test_units_can_go_one_by_one(name):
    network = network_of(*MORE[name][:1], **MORE[name][1])
    (group,) = channel_groups(network).found
    for unit in range(len(group)):
        check_pruning(network, {group.name: torch.arange(len(group)) != unit})


def test_a_class_that_mixes_with_others_says_where():
    network = network_of(*between(lambda m, x: x.softmax(1))[:1], **between(None)[1])
    reasons = {record.layer: record.reason for record in channel_groups(network).refused}
    assert reasons["a"] == "softmax normalizes its values over the channels"
    assert reasons["b"] == "it is an output of the network"
