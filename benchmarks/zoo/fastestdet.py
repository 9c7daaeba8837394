"""FastestDet (dog-qiuqiu/FastestDet, BSD-3) with its BatchNorms, which its ONNX file has lost."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.zoo.data import asset

_REPEATS = (4, 8, 4)
_WIDTHS = (24, 48, 96, 192)
_CLASSES = 80


def fastestdet() -> nn.Module:
    """The network with its weights, in eval mode."""
    model = FastestDet()
    weights = torch.load(asset("weights/fastestdet.pth"), map_location="cpu", weights_only=True)
    model.load_state_dict(weights)
    return model.eval()


class Unit(nn.Module):
    """One unit of ShuffleNetV2, which shuffles what it reads."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        half = outputs // 2
        read = inputs if stride == 2 else half
        width = outputs - inputs if stride == 2 else half
        self.branch_main = nn.Sequential(
            *_conv(read, half, 1),
            nn.ReLU(),
            *_conv(half, half, 3, stride, groups=half),
            *_conv(half, width, 1),
            nn.ReLU(),
        )
        if stride == 2:
            self.branch_proj = nn.Sequential(
                *_conv(inputs, inputs, 3, stride, groups=inputs),
                *_conv(inputs, inputs, 1),
                nn.ReLU(),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        if self.stride == 2:
            return torch.cat((self.branch_proj(x), self.branch_main(x)), 1)
        return torch.cat((x[:, 0::2], self.branch_main(x[:, 1::2])), 1)


class Backbone(nn.Module):
    """Maps at an eighth, a sixteenth and a thirty-second of the size."""

    def __init__(self):
        super().__init__()
        self.first_conv = nn.Sequential(*_conv(3, _WIDTHS[0], 3, 2), nn.ReLU())
        stages = [
            nn.Sequential(Unit(a, b, 2), *(Unit(b, b, 1) for _ in range(count - 1)))
            for a, b, count in zip(_WIDTHS, _WIDTHS[1:], _REPEATS, strict=False)
        ]
        self.stage2, self.stage3, self.stage4 = stages

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The three maps of images (n, 3, h, w)."""
        first = self.stage2(F.max_pool2d(self.first_conv(x), 3, 2, 1))
        second = self.stage3(first)
        return first, second, self.stage4(second)


class _Narrow(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1x1 = nn.Sequential(*_conv(inputs, outputs, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(x)


class _Pyramid(nn.Module):
    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.Conv1x1 = _Narrow(inputs, width)
        one = [*_conv(width, width, 5, groups=width), nn.ReLU()]
        self.S1 = nn.Sequential(*one)
        self.S2, self.S3 = (
            nn.Sequential(
                *(m for _ in range(n) for m in (*_conv(width, width, 5, groups=width), nn.ReLU()))
            )
            for n in (2, 3)
        )
        self.output = nn.Sequential(*_conv(3 * width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv1x1(x)
        joined = torch.cat((self.S1(x), self.S2(x), self.S3(x)), 1)
        return F.relu(x + self.output(joined))


class _Head(nn.Module):
    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.conv5x5 = nn.Sequential(
            *_conv(width, width, 5, groups=width), nn.ReLU(), *_conv(width, outputs, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv5x5(x)


class _Heads(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1x1 = _Narrow(width, width)
        self.obj_layers, self.reg_layers = _Head(width, 1), _Head(width, 4)
        self.cls_layers = _Head(width, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1x1(x)
        scores = self.obj_layers(x).sigmoid(), self.cls_layers(x).softmax(1)
        return torch.cat((scores[0], self.reg_layers(x), scores[1]), 1)


class FastestDet(nn.Module):
    """The backbone, one map of all three sizes, and the heads."""

    def __init__(self):
        super().__init__()
        self.backbone = Backbone()
        self.SPP = _Pyramid(sum(_WIDTHS[1:]), _WIDTHS[2])
        self.detect_head = _Heads(_WIDTHS[2])

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, 3, h, w) to (n, 85, h / 16, w / 16): objectness, a box, 80 classes."""
        first, second, third = self.backbone(x)
        resized = F.avg_pool2d(first, 3, 2, 1), F.interpolate(third, scale_factor=2.0)
        return self.detect_head(self.SPP(torch.cat((resized[0], second, resized[1]), 1)))


def _conv(
    inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1
) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(outputs)
