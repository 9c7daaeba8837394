"""ShuffleNetV2 (arXiv 1807.11164) for CIFAR-10: a stem without stride or pooling."""

import torch
from torch import Tensor, nn


class ShuffleUnit(nn.Module):
    """One unit: split or downsample, transform one branch, concatenate, shuffle the channels."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        half = outputs // 2
        self.stride = stride
        if stride > 1:
            self.branch1 = nn.Sequential(
                *_depthwise(inputs, stride),
                *_pointwise(inputs, half),
            )
        self.branch2 = nn.Sequential(
            *_pointwise(inputs if stride > 1 else half, half),
            *_depthwise(half, stride),
            *_pointwise(half, half),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        if self.stride > 1:
            left, right = self.branch1(x), x
        else:
            left, right = x.chunk(2, dim=1)
        joined = torch.cat((left, self.branch2(right)), dim=1)
        n, c, h, w = joined.shape
        return joined.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleNetV2(nn.Module):
    """Three stages of shuffle units between a 3×3 stem and a 1×1 head."""

    def __init__(self, channels: tuple[int, int, int, int, int], classes: int = 10):
        super().__init__()
        stem, second, third, fourth, head = channels
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()
        )
        self.stage2 = _stage(stem, second, repeats=4)
        self.stage3 = _stage(second, third, repeats=8)
        self.stage4 = _stage(third, fourth, repeats=4)
        self.conv5 = nn.Sequential(*_pointwise(fourth, head))
        self.fc = nn.Linear(head, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (n, 3, 32, 32) to logits (n, classes)."""
        x = self.stage4(self.stage3(self.stage2(self.conv1(x))))
        return self.fc(self.conv5(x).mean((2, 3)))


def _depthwise(channels: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


def _pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def _stage(inputs: int, outputs: int, repeats: int) -> nn.Sequential:
    first = ShuffleUnit(inputs, outputs, stride=2)
    return nn.Sequential(first, *(ShuffleUnit(outputs, outputs, 1) for _ in range(repeats - 1)))
