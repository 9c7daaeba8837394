"""CRAFT, which finds text: VGG-16 with BatchNorm, and a way back up (arXiv 1904.01941)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Channels of VGG-16; 0 is pooling.
_VGG = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
#: Layers of VGG-16 in each slice. All but the last one end before a ReLU.
_SLICES = ((0, 12), (12, 19), (19, 29), (29, 39))
_UP = ((1536, 512, 256), (768, 256, 128), (384, 128, 64), (192, 64, 32))


class Craft(nn.Module):
    """Maps of where letters are and of where they belong together.

    Input (n, 3, height, width), output (n, height / 2, width / 2, 2).
    """

    def __init__(self) -> None:
        """Initialize with random weights."""
        super().__init__()
        self.basenet = _Backbone()
        self.upconv1, self.upconv2, self.upconv3, self.upconv4 = (_Up(*sizes) for sizes in _UP)
        layers: list[nn.Module] = []
        for channels, out, size in ((32, 32, 3), (32, 32, 3), (32, 16, 3), (16, 16, 1)):
            layers += [nn.Conv2d(channels, out, size, padding=size // 2), nn.ReLU()]
        self.conv_cls = nn.Sequential(*layers, nn.Conv2d(16, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Find text."""
        *skips, deep, y = self.basenet(x)
        y = self.upconv1(torch.cat([y, deep], 1))
        ups = (self.upconv2, self.upconv3, self.upconv4)
        for up, skip in zip(ups, reversed(skips), strict=True):
            y = F.interpolate(y, size=skip.shape[2:], mode="bilinear", align_corners=False)
            y = up(torch.cat([y, skip], 1))
        return self.conv_cls(y).permute(0, 2, 3, 1)


class _Backbone(nn.Module):
    """VGG-16 in slices, whose layers have the numbers that they have in torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        layers = _vgg()
        parts = [nn.Sequential() for _ in _SLICES]
        for part, span in zip(parts, _SLICES, strict=True):
            for number in range(*span):
                part.add_module(str(number), layers[number])
        self.slice1, self.slice2, self.slice3, self.slice4 = parts
        self.slice5 = nn.Sequential(
            nn.MaxPool2d(3, 1, 1),
            nn.Conv2d(512, 1024, 3, padding=6, dilation=6),
            nn.Conv2d(1024, 1024, 1),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for part in (self.slice1, self.slice2, self.slice3):
            x = part(x)
            found.append(F.relu(x))  # in the original, the next slice starts with one in place
        deep = self.slice4(x)
        return [*found, deep, self.slice5(deep)]


def _vgg() -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels = 3
    for width in _VGG:
        if width:
            convolution = nn.Conv2d(channels, width, 3, padding=1)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2))
    return layers


class _Up(nn.Module):
    def __init__(self, channels: int, middle: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, middle, 1),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            nn.Conv2d(middle, out, 3, padding=1),
            nn.BatchNorm2d(out),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)
