"""FastestDet on COCO: images, boxes out of its output, and average precision.

The decoding is that of dog-qiuqiu/FastestDet (BSD-3).
"""

import io
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image

from benchmarks.zoo.data import asset

SIZE = 352
_LEAST_SCORE, _NMS_OVERLAP, _HIT_OVERLAP = 0.001, 0.45, 0.5


@dataclass(frozen=True)
class Photograph:
    """One labelled image.

    Attributes:
        pixels: The network's input, float32 (1, 3, 352, 352), BGR in [0, 1].
        size: Width and height of the original.
        boxes: (n, 5): left, top, right, bottom in pixels of the original, and class.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    boxes: np.ndarray


def coco128(part: str = "val2017") -> list[Photograph]:
    """128 images of COCO.

    Args:
        part: `"val2017"` or `"train2017"`.
    """
    with np.load(asset(f"data/coco128_{part}.npz"), allow_pickle=False) as pack:
        jpeg, boxes = pack["jpeg"].tobytes(), pack["boxes"]
        spans = zip(pairwise(pack["offsets"]), pairwise(pack["box_offsets"]), strict=True)
        return [_photograph(jpeg[a:b], boxes[c:d]) for (a, b), (c, d) in spans]


def _photograph(jpeg: bytes, boxes: np.ndarray) -> Photograph:
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    resized = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, reducing_gap=None))
    bgr = resized[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255
    return Photograph(np.ascontiguousarray(bgr), image.size, boxes)


def detections(output: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes out of one output.

    Args:
        output: (85, rows, columns): objectness, four numbers of a box, 80 classes.
        size: Width and height of the image.

    Returns:
        (n, 6): left, top, right, bottom, score and class.
    """
    _, rows, columns = output.shape
    y, x = np.mgrid[:rows, :columns]
    score = output[0] ** 0.6 * output[5:].max(0) ** 0.4
    center = (np.tanh(output[1]) + x) / columns, (np.tanh(output[2]) + y) / rows
    extent = _sigmoid(output[3]), _sigmoid(output[4])
    width, height = size
    found = np.stack(
        [
            (center[0] - extent[0] / 2) * width,
            (center[1] - extent[1] / 2) * height,
            (center[0] + extent[0] / 2) * width,
            (center[1] + extent[1] / 2) * height,
            score,
            output[5:].argmax(0),
        ],
        axis=-1,
    ).reshape(-1, 6)
    return _suppressed(found[found[:, 4] > _LEAST_SCORE])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _suppressed(found: np.ndarray) -> np.ndarray:
    """Of boxes of one class that overlap, only the best."""
    kept = []
    for wanted in np.unique(found[:, 5]):
        rest = found[found[:, 5] == wanted]
        rest = rest[np.argsort(-rest[:, 4], kind="stable")]
        while len(rest):
            kept.append(rest[0])
            rest = rest[1:][_overlaps(rest[0], rest[1:]) <= _NMS_OVERLAP]
    return np.array(kept).reshape(-1, 6)


def _overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with each of many."""
    corner = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:4], boxes[:, 2:4])
    shared = np.clip(corner[1] - corner[0], 0, None).prod(1)
    areas = (boxes[:, 2:4] - boxes[:, :2]).prod(1)
    return shared / np.maximum((box[2:4] - box[:2]).prod() + areas - shared, 1e-9)


def average_precision(found: list[np.ndarray], photographs: list[Photograph]) -> float:
    """AP at an overlap of 0.5, 101-point, the mean over the classes present; in percent.

    Args:
        found: Detections of each image.
        photographs: The images.
    """
    classes = np.unique(np.concatenate([photo.boxes[:, 4] for photo in photographs]))
    return 100 * float(np.mean([_class_precision(c, found, photographs) for c in classes]))


def _class_precision(c: float, found: list[np.ndarray], photographs: list[Photograph]) -> float:
    scores, hits, total = [], [], 0
    for boxes, photo in zip(found, photographs, strict=True):
        truth = photo.boxes[photo.boxes[:, 4] == c]
        total += len(truth)
        mine = boxes[boxes[:, 5] == c]
        mine = mine[np.argsort(-mine[:, 4], kind="stable")]
        scores += mine[:, 4].tolist()
        hits += _hits(mine, truth)
    order = np.argsort(-np.array(scores), kind="stable")
    right = np.cumsum(np.array(hits)[order]) if hits else np.zeros(0)
    recall, precision = right / total, right / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.mean([best[p] if p < len(best) else 0.0 for p in places]))


def _hits(boxes: np.ndarray, truth: np.ndarray) -> list[bool]:
    """Does each box, the best first, find an object that no better one has found?"""
    free, hits = np.ones(len(truth), bool), []
    for box in boxes:
        overlaps = np.where(free, _overlaps(box, truth), 0.0) if len(truth) else np.zeros(1)
        best = int(overlaps.argmax())
        hits.append(bool(overlaps[best] >= _HIT_OVERLAP))
        if hits[-1]:
            free[best] = False
    return hits
