"""A small network whose outputs have parts of very different ranges."""

import torch
from torch import nn


class Ranges(nn.Module):
    """Two parts of ranges 1,000 and 1, joined, and read by one layer that keeps them apart."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.large, self.small = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1)
        self.last = nn.Conv2d(16, 16, 1, groups=2)
        with torch.no_grad():
            self.large.weight *= 1000
            self.large.bias *= 1000

    def forward(self, x):
        x = self.body(x)
        return self.last(torch.cat([self.large(x), self.small(x)], 1))


def ranges():
    torch.manual_seed(0)
    return Ranges().eval()


def pictures(count, seed=0):
    return torch.rand(count, 3, 12, 12, generator=torch.manual_seed(seed))
