"""The labelled images of the benchmarks, and how pixels become network inputs."""

import io
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def asset(pattern: str) -> Path:
    """The one file under the folder `TERSOR_ASSETS` that matches `pattern`.

    Raises:
        FileNotFoundError: the variable is unset, or not exactly one file matches.
    """
    root = os.environ.get("TERSOR_ASSETS")
    if not root:
        raise FileNotFoundError(
            "TERSOR_ASSETS is not set: name the folder that holds data/ and weights/, "
            "for example `export TERSOR_ASSETS=~/assets`"
        )
    found = sorted(Path(root).expanduser().glob(pattern))
    if len(found) != 1:
        raise FileNotFoundError(f"{root}: wanted one file {pattern}, found {len(found)}")
    return found[0]


@dataclass(frozen=True)
class Normalize:
    """The map (x − mean) / std from uint8 pixels to network inputs, per RGB channel.

    Attributes:
        mean: per channel, in the units of a pixel (0 to 255).
        std: idem.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """Map uint8 images (n, h, w, 3) to float32 inputs (n, 3, h, w)."""
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (self.mean, self.std))
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float()
        return images.sub_(mean).div_(std)

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest input that a pixel can give, over the channels."""
        pairs = list(zip(self.mean, self.std, strict=True))
        return min((0 - m) / s for m, s in pairs), max((255 - m) / s for m, s in pairs)


def cifar10_test() -> tuple[np.ndarray, np.ndarray]:
    """The 10,000 test images, uint8 (n, 32, 32, 3), and their labels."""
    return _cifar10("data/cifar10_test.npz")


def cifar10_train() -> tuple[np.ndarray, np.ndarray]:
    """The first 20,000 training images, uint8 (n, 32, 32, 3), and their labels."""
    return _cifar10("data/cifar10_train20k.npz")


def imagenet_sample(size: int = 224) -> tuple[np.ndarray, np.ndarray]:
    """One image for each ImageNet class, uint8 (1000, size, size, 3), and their labels.

    The file holds images resized to 256 pixels on the short side and cropped to 256×256. The
    evaluation of EfficientNet-Lite crops the central `size / (size + 32)` of the short side and
    resizes the crop to `size` with a bicubic filter. At 224 this crop already has 224 pixels.
    """
    with np.load(asset("data/imagenet_sample1000_256.npz"), allow_pickle=False) as pack:
        jpeg, offsets, labels = pack["jpeg"].tobytes(), pack["offsets"], pack["labels"]
    spans = pairwise(offsets)
    return np.stack([_central(jpeg[a:b], size) for a, b in spans]), labels.astype(np.int64)


def _cifar10(pattern: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(asset(pattern), allow_pickle=False) as pack:
        return pack["images"], pack["labels"].astype(np.int64)


def _central(jpeg: bytes, size: int) -> np.ndarray:
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    side = round(min(image.size) * size / (size + 32))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    crop = image.crop((left, top, left + side, top + side))
    return np.asarray(crop if side == size else crop.resize((size, size), Image.Resampling.BICUBIC))
