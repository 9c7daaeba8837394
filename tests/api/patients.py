"""Small networks, each with one planted fault, and a healthy one."""

import torch
from torch import Tensor, nn

LOUD = 3  # the channel that is out of line


def images(count: int = 32, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def healthy() -> nn.Module:
    """Three layers without bias, so that the outputs are all signal."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 5, bias=False),
    ).eval()


def loud_weights() -> nn.Module:
    """One output channel of a layer is 300 times the others; the next layer takes it back."""
    model = healthy()
    with torch.no_grad():
        model[0].weight[LOUD] *= 300
        model[2].weight[:, LOUD] /= 300
    return model


class Spike(nn.Module):
    """Adds 2,000 to one place of what the last layer reads, which that layer does not look at."""

    def __init__(self) -> None:
        super().__init__()
        self.body = healthy()[:5]
        self.head = healthy()[5]
        self.register_buffer("spike", torch.zeros(512))
        self.spike[LOUD] = 2000.0
        with torch.no_grad():
            self.head.weight[:, LOUD] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x) + self.spike)


class Logarithm(nn.Module):
    """NaN for negative inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = healthy()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(torch.log(x))


def spike() -> tuple[nn.Module, Tensor]:
    """As the command line names it."""
    return Spike().eval(), images(2)
