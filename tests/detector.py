"""A small detector in the manner of YOLO: one backbone, two scales, boxes decoded in `Detect`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE = (2, 3, 32, 32)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, 4, 1)
        self.expand = nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()


class Detect(nn.Module):
    """Boxes, scores, and the raw maps; the decoding is functions only."""

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Conv2d(channels, 6, 1) for _ in range(2))
        self.register_buffer("grid", torch.rand(1, 2, anchors))

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        raw = [conv(x) for conv, x in zip(self.maps, features, strict=True)]
        joined = torch.cat([x.flatten(2) for x in raw], 2)
        centre, size, scores = joined.split((2, 2, 2), 1)
        boxes = torch.cat((centre.sigmoid() * 2 + self.grid, size.exp() * 4), 1)
        return boxes, scores.sigmoid(), raw[0]


class Detector(nn.Module):
    """PReLU, dilated, grouped and transposed convolutions, both norms, resizing, pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.PReLU(8))
        self.down = nn.Sequential(
            nn.Conv2d(8, 16, 3, 2, 2, dilation=2), nn.GroupNorm(4, 16), nn.ReLU()
        )
        self.deep = nn.Sequential(
            nn.Conv2d(16, 16, 3, 1, 1, groups=4), nn.InstanceNorm2d(16, affine=True), nn.SiLU()
        )
        self.squeeze = SqueezeExcite(16)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.shuffle = nn.Sequential(nn.Conv2d(16, 32, 1), nn.PixelShuffle(2))
        self.merge = nn.Conv2d(32, 8, 1)
        self.low = nn.Conv2d(16, 8, 1)
        self.detect = Detect(8, 16 * 16 + 8 * 8)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.stem(image)
        deep = self.squeeze(self.deep(self.down(fine)))
        size = fine.shape[2:]
        resized = F.interpolate(deep[:, :8], size=size, mode="nearest")
        pyramid = torch.cat((fine, self.up(deep), self.shuffle(deep), resized), 1)
        return self.detect([F.relu(self.merge(pyramid)), F.relu(self.low(deep))])


def detector() -> nn.Module:
    """With random weights, in inference mode."""
    torch.manual_seed(0)
    return Detector().eval()
