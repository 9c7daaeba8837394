"""A small trained-looking network that has every kind of part the jobs are about."""

import torch
from torch import Tensor, nn


def samples(count: int) -> Tensor:
    """Unlabelled images, smooth as photographs are.

    Args:
        count: How many.
    """
    noise = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(noise, scale_factor=4, mode="bilinear")


class Block(nn.Module):
    """A residual block whose middle is depthwise."""

    def __init__(self, channels: int) -> None:
        """Draw the weights.

        Args:
            channels: Of its input and its output.
        """
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, 2 * channels, 1, bias=False), nn.BatchNorm2d(2 * channels)),
            nn.ReLU6(),
            nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels, bias=False),
            *(nn.BatchNorm2d(2 * channels), nn.ReLU6()),
            *(nn.Conv2d(2 * channels, channels, 1, bias=False), nn.BatchNorm2d(channels)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add what the block computes.

        Args:
            x: Its input.
        """
        return x + self.body(x)


def network() -> nn.Module:
    """Build it: six layers, batch statistics measured."""
    torch.manual_seed(0)
    stem = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    deep = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()
    end = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)
    built = nn.Sequential(*stem, Block(16), *deep, *end)
    with torch.no_grad():
        for _ in range(20):
            built(samples(64))
    return built.eval()
