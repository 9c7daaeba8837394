"""A small EfficientNet (arXiv 1905.11946) for CIFAR-10: SiLU, depthwise, squeeze-excite.

Its weights come from no model zoo: `python -m benchmarks.training.silunet` makes them.
"""

import os
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

#: Per stage: expansion, channels, blocks, stride of the first block.
STAGES = ((3, 32, 2, 1), (3, 80, 4, 2), (3, 128, 1, 2))


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate in (0, 1) that depends on the means of all channels."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to the same shape."""
        mean = x.mean((2, 3), keepdim=True)
        return x * self.expand(F.silu(self.reduce(mean))).sigmoid()


class InvertedBottleneck(nn.Module):
    """Widen by 1×1, filter each channel by 3×3, gate, narrow by 1×1; a shortcut where it fits."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int):
        super().__init__()
        wide = inputs * expansion
        self.widen = _conv(inputs, wide, 1)
        self.filter = _conv(wide, wide, 3, stride, groups=wide)
        self.excite = SqueezeExcite(wide, inputs // 4)
        self.narrow = _conv(wide, outputs, 1)[:2]
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        y = self.narrow(self.excite(self.filter(self.widen(x))))
        return x + y if self.shortcut else y


class SiluNet(nn.Module):
    """Stages of inverted bottlenecks between a 3×3 stem and a 1×1 head."""

    def __init__(
        self,
        stem: int = 16,
        stages: tuple[tuple[int, int, int, int], ...] = STAGES,
        head: int = 320,
        classes: int = 10,
    ):
        super().__init__()
        self.stem = nn.Sequential(_conv(3, stem, 3), _conv(stem, 2 * stem, 3, stride=2))
        blocks, inputs = [], 2 * stem
        for expansion, outputs, repeats, stride in stages:
            for index in range(repeats):
                step = 1 if index else stride
                blocks.append(InvertedBottleneck(inputs, outputs, expansion, step))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = _conv(inputs, head, 1)
        self.linear = nn.Linear(head, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (n, 3, 32, 32) to logits (n, classes)."""
        return self.linear(self.head(self.blocks(self.stem(x))).mean((2, 3)))


def weights_path() -> Path:
    """Where the weights are: `TERSOR_SILUNET`, or a file in the user's cache."""
    path = os.environ.get("TERSOR_SILUNET") or "~/.cache/tersor/silunet.safetensors"
    return Path(path).expanduser()


def _conv(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.SiLU())
