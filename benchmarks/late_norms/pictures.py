"""Pictures of 96×96 pixels with one to four images of CIFAR-10 in them, and what is where."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SIZE, CLASSES = 96, 10
_MOST = 4


@dataclass(frozen=True)
class Pictures:
    """Pictures with their labels.

    Attributes:
        pixels: Inputs, (n, 3, 96, 96), about zero.
        classes: The class of each pixel, (n, 96, 96); 0 is the background.
        boxes: For each picture (k, 5): left, top, right, bottom, and class from 0.
    """

    pixels: Tensor
    classes: Tensor
    boxes: list[np.ndarray]


def compose(images: np.ndarray, labels: np.ndarray, count: int, seed: int) -> Pictures:
    """Put pictures together.

    Args:
        images: Images of CIFAR-10, (n, 32, 32, 3).
        labels: Their classes.
        count: Number of pictures.
        seed: Draws images, sizes and places.
    """
    generator = np.random.default_rng(seed)
    pixels = torch.empty(count, 3, SIZE, SIZE)
    classes = torch.zeros(count, SIZE, SIZE, dtype=torch.int64)
    boxes = []
    for number in range(count):
        pixels[number] = _background(generator)
        found = []
        for _ in range(generator.integers(1, _MOST + 1)):
            chosen = generator.integers(len(images))
            side = int(generator.integers(24, 49))
            left, top = generator.integers(0, SIZE - side, 2)
            image = torch.from_numpy(images[chosen]).permute(2, 0, 1)[None] / 64 - 2
            patch = F.interpolate(image, size=side, mode="bilinear", antialias=True)[0]
            pixels[number, :, top : top + side, left : left + side] = patch
            classes[number, top : top + side, left : left + side] = int(labels[chosen]) + 1
            found.append((left, top, left + side, top + side, labels[chosen]))
        boxes.append(_seen(np.array(found, dtype=np.float64)))
    return Pictures(pixels, classes, boxes)


def _background(generator: np.random.Generator) -> Tensor:
    """Soft clouds of colour."""
    few = torch.from_numpy(generator.normal(0, 1, (1, 3, 5, 5))).float()
    return F.interpolate(few, size=SIZE, mode="bicubic")[0].clamp(-2, 2)


def _seen(boxes: np.ndarray) -> np.ndarray:
    """Those that later ones do not hide by more than half."""
    kept = []
    for number, box in enumerate(boxes):
        over = boxes[number + 1 :]
        wide = (np.minimum(over[:, 2], box[2]) - np.maximum(over[:, 0], box[0])).clip(0)
        high = (np.minimum(over[:, 3], box[3]) - np.maximum(over[:, 1], box[1])).clip(0)
        area = (box[2] - box[0]) * (box[3] - box[1])
        if (wide * high).sum() < area / 2:
            kept.append(box)
    return np.array(kept).reshape(-1, 5)
