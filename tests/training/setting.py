"""A small quantized network with its batches, for the tests and for the processes they start."""

from dataclasses import replace
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tersor
from tersor import Quantized, Training, WithData
from tersor.quant.lsq import LSQ


def model() -> nn.Module:
    """Two convolutions with BatchNorm, one of them depthwise, SiLU and ReLU, and a head."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.SiLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    for _ in range(10):
        net(inputs(16))
    return net.eval()


def inputs(count: int, seed: int = 1) -> Tensor:
    """Images with a mean of their own in each channel."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(count, 3, 1, 1, generator=generator)
    return mean + torch.randn(count, 3, 8, 8, generator=generator)


@cache
def _quantized(bits: int) -> Quantized:
    x = inputs(32)
    options, few = WithData(rounding=None), {"*": bits}
    return tersor.quantize(model(), x[:2], data=x, weights=few, activations=few, options=options)


def quantized(bits: int = 4) -> Quantized:
    """The network with few bits."""
    found = _quantized(bits)
    return replace(found, network=found.network.copy())


def batches(count: int = 6, size: int = 8) -> list[Tensor]:
    """Unlabelled batches."""
    return list(inputs(count * size, seed=2).split(size))


def labelled(count: int = 6, size: int = 8) -> list[tuple[Tensor, Tensor]]:
    """Batches with the classes that the float network finds."""
    net = model()
    with torch.no_grad():
        return [(x, net(x).argmax(1)) for x in batches(count, size)]


class Shuffled:
    """Noisy batches in random order: both drawn from torch's global generator."""

    def __init__(self, count: int = 6) -> None:
        self.images = torch.cat(batches(count))

    def __len__(self) -> int:
        return len(self.images) // 8

    def __iter__(self) -> Any:
        for index in torch.randperm(len(self.images)).split(8):
            yield self.images[index] + 0.01 * torch.randn(8, 3, 8, 8)


def noisy_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss that draws random numbers of its own."""
    return F.cross_entropy(outputs + 0.01 * torch.randn_like(outputs), targets)


def short(**options: Any) -> Training:
    """A few steps."""
    given = {"epochs": 2, "log_every": 3, "quantizers": LSQ(samples=16), **options}
    return Training(**given)


def state(q: Quantized) -> dict[str, Tensor]:
    """All tensors of a network."""
    return {name: x.detach().clone() for name, x in q.network.module.state_dict().items()}


def difference(first: Quantized, second: Quantized) -> float:
    """The largest difference between two networks, over that of their tensor."""
    ours, theirs = state(first), state(second)
    assert ours.keys() == theirs.keys()
    found = [
        float((x - theirs[n]).abs().max() / x.abs().max().clamp(min=1e-12)) for n, x in ours.items()
    ]
    return max(found)
