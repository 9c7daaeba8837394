"""Convolutional blocks with joins: residual, concatenating, shuffling, gated."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, images
from tests.zoo.chains import conv_bn, head


class Residual(nn.Module):
    """x + branch(x), or shortcut(x) + branch(x), then an activation if given."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None, act=None):
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x) + (x if self.shortcut is None else self.shortcut(x))
        return y if self.act is None else self.act(y)


def resnet() -> nn.Module:
    """Basic blocks: one with the identity, one with a strided 1×1 shortcut."""

    def branch(inputs, outputs, stride):
        return nn.Sequential(
            *conv_bn(inputs, outputs, stride=stride), nn.ReLU(), *conv_bn(outputs, outputs)
        )

    down = nn.Sequential(*conv_bn(8, 12, kernel=1, stride=2))
    return nn.Sequential(
        *conv_bn(3, 8),
        nn.ReLU(),
        Residual(branch(8, 8, 1), act=nn.ReLU(inplace=True)),
        Residual(branch(8, 12, 2), down, nn.ReLU(inplace=True)),
        *head(12),
    )


def inverted(inputs: int, outputs: int, stride: int, act: type[nn.Module], gate=()):
    """Expand, depthwise, gate, project: the block of MobileNetV2 and its heirs."""
    wide = 2 * inputs
    return nn.Sequential(
        *conv_bn(inputs, wide, kernel=1),
        act(),
        *conv_bn(wide, wide, stride=stride, groups=wide),
        act(),
        *gate,
        *conv_bn(wide, outputs, kernel=1),
    )


def mobilenetv2() -> nn.Module:
    return nn.Sequential(
        *conv_bn(3, 8, stride=2),
        nn.ReLU6(),
        Residual(inverted(8, 8, 1, nn.ReLU6)),
        inverted(8, 10, 2, nn.ReLU6),
        Residual(inverted(10, 10, 1, nn.ReLU6)),
        *head(10),
    )


class SqueezeExcite(nn.Module):
    """x · gate(expand(act(reduce(mean(x)))))."""

    def __init__(self, channels: int, reduced: int, act: nn.Module, gate: nn.Module):
        super().__init__()
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.expand = nn.Conv2d(reduced, channels, 1)
        self.act = act
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.expand(self.act(self.reduce(pooled))))


def efficientnet() -> nn.Module:
    gate = SqueezeExcite(16, 4, nn.SiLU(), nn.Sigmoid())
    return nn.Sequential(
        *conv_bn(3, 8),
        nn.SiLU(),
        Residual(inverted(8, 8, 1, nn.SiLU, [gate])),
        *head(8),
    )


def mobilenetv3() -> nn.Module:
    gate = SqueezeExcite(16, 4, nn.ReLU(), nn.Hardsigmoid())
    return nn.Sequential(
        *conv_bn(3, 8),
        nn.Hardswish(),
        Residual(inverted(8, 8, 1, nn.Hardswish, [gate])),
        inverted(8, 8, 2, nn.ReLU),
        *head(8),
    )


class ShuffleUnit(nn.Module):
    """ShuffleNetV2: half of the channels pass by, then both halves are interleaved."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            *conv_bn(half, half, kernel=1),
            nn.ReLU(inplace=True),
            *conv_bn(half, half, groups=half),
            *conv_bn(half, half, kernel=1),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        kept, moved = x.chunk(2, dim=1)
        y = torch.cat((kept, self.branch(moved)), dim=1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


def shufflenet() -> nn.Module:
    return nn.Sequential(
        *conv_bn(3, 8), nn.ReLU(), ShuffleUnit(8), ShuffleUnit(8), nn.Conv2d(8, 6, 1), *head(6)
    )


class DenseLayer(nn.Module):
    """Pre-activation: BatchNorm, ReLU, convolution; the input is kept beside the output."""

    def __init__(self, inputs: int, growth: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)


def densenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        DenseLayer(8, 4),
        DenseLayer(12, 4),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 8, 1, bias=False),
        nn.AvgPool2d(2),
        DenseLayer(8, 4),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        *head(12),
    )


class Decoder(nn.Module):
    """Segmentation: transposed convolutions, a skip by concatenation, resizing, a dict of two."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(*conv_bn(3, 8, stride=2), nn.ReLU())
        self.deeper = nn.Sequential(*conv_bn(8, 12, stride=2), nn.ReLU())
        self.up = nn.ConvTranspose2d(12, 8, 2, stride=2, bias=False)
        self.up_bn = nn.BatchNorm2d(8)
        self.refine = nn.ConvTranspose2d(16, 8, 3, padding=1, groups=4)
        self.refine_bn = nn.BatchNorm2d(8)
        self.classify = nn.Conv2d(8, 4, 1)
        self.auxiliary = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        size = x.shape[-2:]
        fine = self.encode(x)
        coarse = self.deeper(fine)
        y = F.relu(self.up_bn(self.up(coarse)))
        y = F.relu(self.refine_bn(self.refine(torch.cat((y, fine), 1))))
        out = F.interpolate(self.classify(y), size, mode="bilinear", align_corners=False)
        return {"out": out, "aux": F.interpolate(self.auxiliary(coarse), size, mode="nearest")}


IMAGE = (images(3, 16, 16),)

CASES = {
    "resnet": Case(resnet, IMAGE),
    "mobilenetv2": Case(mobilenetv2, IMAGE),
    "mobilenetv3": Case(mobilenetv3, IMAGE),
    "efficientnet": Case(efficientnet, IMAGE),
    "shufflenet": Case(shufflenet, IMAGE),
    "densenet": Case(densenet, IMAGE),
    "decoder": Case(Decoder, IMAGE),
}
