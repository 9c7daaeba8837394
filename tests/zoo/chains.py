"""Networks that are one chain of layers, without joins."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, images


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1):
    """Convolution without bias and with zero padding, then BatchNorm."""
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    return [conv, nn.BatchNorm2d(outputs)]


def head(channels: int, classes: int = 5):
    """Global average pooling and a classifier."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def plain() -> nn.Module:
    return nn.Sequential(
        *conv_bn(3, 8),
        nn.ReLU(),
        *conv_bn(8, 12, stride=2),
        nn.ReLU(inplace=True),
        nn.Conv2d(12, 8, 1),
        nn.BatchNorm2d(8, eps=1e-3),
        nn.ReLU(),
        *head(8),
    )


def vgg() -> nn.Module:
    """No BatchNorm at all; max and average pooling; flatten of a 2×2 map into a Linear."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 2 * 2, 10),
        nn.ReLU(),
        nn.Linear(10, 5),
    )
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    return net


def grouped() -> nn.Module:
    return nn.Sequential(
        *conv_bn(4, 8, kernel=1),
        nn.ReLU(),
        *conv_bn(8, 12, groups=4),
        nn.ReLU(),
        *conv_bn(12, 6, groups=2),
        nn.ReLU(),
        *head(6),
    )


def leaky() -> nn.Module:
    """PReLU with one slope and with one per channel, and LeakyReLU."""
    net = nn.Sequential(
        *conv_bn(3, 8),
        nn.PReLU(),
        *conv_bn(8, 8),
        nn.PReLU(8),
        *conv_bn(8, 8),
        nn.LeakyReLU(0.1),
        *head(8),
    )
    net[5].weight.data.uniform_(-0.3, 0.6)
    return net


def separable() -> nn.Module:
    """MobileNetV1: depthwise and pointwise convolutions with ReLU6, named layers."""
    layers = [*conv_bn(3, 8, stride=2), nn.ReLU6()]
    for stride in (1, 2):
        layers += [*conv_bn(8, 8, stride=stride, groups=8), nn.ReLU6()]
        layers += [*conv_bn(8, 8, kernel=1), nn.ReLU6()]
    named = OrderedDict((f"layer{i}", layer) for i, layer in enumerate(layers))
    return nn.Sequential(nn.Sequential(named), *head(8))


def one_channel() -> nn.Module:
    """Layers with one input or output channel."""
    return nn.Sequential(
        *conv_bn(1, 4),
        nn.ReLU(),
        *conv_bn(4, 1),
        nn.PReLU(),
        *conv_bn(1, 1),
        nn.ReLU(),
        nn.Conv2d(1, 3, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 1),
    )


def bn_before_conv() -> nn.Module:
    """BatchNorm in front: exact to fold without padding, not exact with it."""
    return nn.Sequential(
        nn.BatchNorm2d(3),
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 6, 1, groups=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.BatchNorm1d(6),
        nn.Linear(6, 5),
    )


def odd_padding() -> nn.Module:
    """`padding="same"` with dilation, reflected padding, and an unaffine BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding="same", dilation=2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 5, padding="same"),
        nn.BatchNorm2d(8, affine=False),
        nn.ReLU(),
        nn.Conv2d(8, 6, (3, 1), padding=(1, 0), padding_mode="reflect"),
        nn.BatchNorm2d(6),
        nn.Hardtanh(-0.5, 2.0),
        *head(6),
    )


class StaticPadding(nn.Module):
    """Asymmetric zero padding as its own op in front of strided convolutions (EfficientNet)."""

    def __init__(self):
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))
        self.stem = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, groups=8, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.act = nn.ReLU6()
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.stem(self.pad(x))))
        x = self.act(self.bn2(self.depthwise(F.pad(x, (0, 1, 0, 1)))))
        return self.fc(x.mean((2, 3)))


def dead_channels() -> nn.Module:
    """Channels that are constant: a zero filter, a zero gamma, and one that ReLU blocks."""
    net = nn.Sequential(*conv_bn(3, 8), nn.ReLU(), *conv_bn(8, 8), nn.ReLU(), *head(8))
    net[0].weight.data[0] = 0
    net[3].weight.data[:, 1] = 0
    net[4].weight.data = torch.tensor([1.2, 0.8, 0.0, 0.5, -0.7, 1.0, 1.4, -1.1])
    net[4].bias.data[3] = -20
    return net


CASES = {
    "plain": Case(plain, (images(3, 16, 16),)),
    "vgg": Case(vgg, (images(3, 16, 16),)),
    "grouped": Case(grouped, (images(4, 8, 8),)),
    "leaky": Case(leaky, (images(3, 8, 8),)),
    "separable": Case(separable, (images(3, 16, 16),)),
    "one_channel": Case(one_channel, (images(1, 8, 8),)),
    "bn_before_conv": Case(bn_before_conv, (images(3, 10, 10),)),
    "odd_padding": Case(odd_padding, (images(3, 10, 10),)),
    "static_padding": Case(StaticPadding, (images(3, 16, 16),)),
    "dead_channels": Case(dead_channels, (images(3, 8, 8),)),
}
