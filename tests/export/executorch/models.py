"""A network with everything that XNNPACK wants in another form."""

from functools import cache

import torch
from torch import Tensor, nn

import tersor
from tersor.results.quantized import Quantized

SCHEME = "executorch-xnnpack"


class Forms(nn.Module):
    """A clip, a strided shortcut, a concatenation of two grids, a mean, a dropout and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(8, 8, 1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image).clamp(-0.5, 1.5)
        x = (self.body(x) + x[:, :, ::2, ::2]).relu()
        x = torch.cat([x, 3 * self.wide(x)], 1)
        return self.head(self.drop(x.mean((2, 3))))


@cache
def forms() -> Quantized:
    """The network, quantized with samples."""
    torch.manual_seed(0)
    return tersor.quantize(Forms().eval(), data=samples(), scheme=SCHEME)


def samples(count: int = 16) -> Tensor:
    """Noise."""
    return torch.randn(count, 3, 8, 8, generator=torch.manual_seed(1))
