"""Small models, and reports of them."""

from functools import cache

import torch
from torch import Tensor, nn

import tersor
from tersor.report.contents import Report
from tersor.results.quantized import Quantized
from tests import nets


class Residual(nn.Module):
    """A convolution, a shortcut around two more, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.inner = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
            nn.Conv2d(8, 8, 1),
        )
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return self.head(torch.relu(x + self.inner(x)).mean((2, 3)))


def inputs(count: int = 16) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.manual_seed(2))


@cache
def quantized(bits: int = 4) -> Quantized:
    torch.manual_seed(1)
    return tersor.quantize(Residual().eval(), inputs(2), data=inputs(), weights=bits)


@cache
def report(bits: int = 4) -> Report:
    title = f"A <b>residual</b> network in {bits} bits"
    return quantized(bits).report(None, inputs(), title=title)


@cache
def compressed_report() -> Report:
    images = nets.images(16)
    return tersor.compress(nets.plain(), images[:2], data=images, macs=0.5).report(None, images)
