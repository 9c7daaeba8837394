"""Two networks whose BatchNorms sit behind concatenations and sums."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.late_norms.pictures import CLASSES

_RATES = (1, 2, 4, 8)


class Pyramid(nn.Module):
    """Dilated branches, summed one after the other and joined: ESPNet, arXiv 1803.06815, §3.

    Only the joined result is normalized, so no branch has statistics of its own.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        width = outputs // 4
        size = 3 if stride > 1 else 1
        self.narrow = nn.Conv2d(inputs, width, size, stride, size // 2, bias=False)
        self.branches = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=rate, dilation=rate, bias=False) for rate in _RATES
        )
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.PReLU(outputs)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        narrow = self.narrow(x)
        first, *others = (branch(narrow) for branch in self.branches)
        sums = [others[0]]
        for other in others[1:]:
            sums.append(sums[-1] + other)
        y = torch.cat((first, *sums), 1)
        return self.act(self.norm(x + y if self.is_residual else y))


class Segmenter(nn.Module):
    """Pyramids at a half, a quarter and an eighth of the size, and a decoder that joins them."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16))
        self.act = nn.PReLU(16)
        self.quarter = nn.Sequential(Pyramid(16, 64, 2), Pyramid(64, 64), Pyramid(64, 64))
        self.join = nn.Sequential(nn.BatchNorm2d(80), nn.PReLU(80))
        self.eighth = nn.Sequential(Pyramid(80, 128, 2), *(Pyramid(128, 128) for _ in range(4)))
        self.top = nn.Conv2d(128, 24, 1, bias=False)
        self.side = nn.Conv2d(80, 24, 1, bias=False)
        self.merge = nn.Sequential(nn.BatchNorm2d(48), nn.PReLU(48))
        self.head = nn.Conv2d(48, CLASSES + 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, 3, h, w) to the scores of each class, (n, 11, h, w)."""
        half = self.act(self.stem(x))
        quarter = self.join(torch.cat((F.avg_pool2d(half, 3, 2, 1), self.quarter(half)), 1))
        top = F.interpolate(self.top(self.eighth(quarter)), scale_factor=2.0, mode="bilinear")
        merged = self.merge(torch.cat((top, self.side(quarter)), 1))
        return F.interpolate(self.head(merged), scale_factor=4.0, mode="bilinear")


class Csp(nn.Module):
    """Two paths, joined, then normalized: the block of YOLOv5's first release, arXiv 1911.11929."""

    def __init__(self, inputs: int, outputs: int, depth: int):
        super().__init__()
        width = outputs // 2
        self.enter = _conv(inputs, width, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(_conv(width, width, 1), _conv(width, width, 3)) for _ in range(depth)
        )
        self.deep = nn.Conv2d(width, width, 1, bias=False)
        self.short = nn.Conv2d(inputs, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * width)
        self.leave = _conv(2 * width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h, w)."""
        y = self.enter(x)
        for block in self.blocks:
            y = y + block(y)
        joined = torch.cat((self.deep(y), self.short(x)), 1)
        return self.leave(F.silu(self.norm(joined)))


class Detector(nn.Module):
    """A backbone of such blocks, and one head at an eighth of the size."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            _conv(3, 16, 3, 2),
            _conv(16, 32, 3, 2),
            Csp(32, 32, 1),
            _conv(32, 64, 3, 2),
            Csp(64, 64, 2),
            Csp(64, 96, 2),
        )
        self.head = nn.Conv2d(96, 5 + CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, 3, h, w) to (n, 15, h / 8, w / 8): objectness, a box, the classes' scores."""
        y = self.head(self.body(x))
        return torch.cat((y[:, :1].sigmoid(), y[:, 1:5], y[:, 5:].softmax(1)), 1)


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.SiLU())
