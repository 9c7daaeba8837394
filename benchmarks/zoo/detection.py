"""FastestDet on COCO: images, boxes out of its output, and average precision.

The decoding is that of dog-qiuqiu/FastestDet (BSD-3).
"""

import io
from collections.abc import Sequence
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


@dataclass(frozen=True)
class Matched:
    """What average precision needs to know of one image.

    Attributes:
        classes: The class of each box, the best of a class first.
        scores: The score of each box.
        hits: Whether each box finds an object that no better one has found.
        objects: The class of each object.
    """

    classes: np.ndarray
    scores: np.ndarray
    hits: np.ndarray
    objects: np.ndarray


def matched(boxes: np.ndarray, photograph: Photograph) -> Matched:
    """Match detections with the objects of an image.

    Args:
        boxes: The detections: (n, 6), as `detections` returns them.
        photograph: The image.
    """
    truth = photograph.boxes
    parts = [np.zeros((0, 6))]
    hits: list[bool] = []
    for c in np.unique(boxes[:, 5]):
        mine = boxes[boxes[:, 5] == c]
        mine = mine[np.argsort(-mine[:, 4], kind="stable")]
        parts.append(mine)
        hits += _hits(mine, truth[truth[:, 4] == c])
    ordered = np.concatenate(parts)
    return Matched(ordered[:, 5], ordered[:, 4], np.array(hits, bool), truth[:, 4])


def average_precision(found: list[np.ndarray], photographs: list[Photograph]) -> float:
    """AP at an overlap of 0.5, 101-point, the mean over the classes present; in percent.

    Args:
        found: Detections of each image.
        photographs: The images.
    """
    return precision_of([matched(*pair) for pair in zip(found, photographs, strict=True)])


def precision_of(images: Sequence[Matched]) -> float:
    """As `average_precision`, of images that are matched already and may be there repeatedly.

    Args:
        images: What was found in each image.
    """
    objects = np.concatenate([image.objects for image in images])
    names, totals = np.unique(objects, return_counts=True)
    classes = np.concatenate([image.classes for image in images])
    scores = np.concatenate([image.scores for image in images])
    order = np.lexsort((-scores, classes))
    hits = np.concatenate([image.hits for image in images])[order]
    starts = np.searchsorted(classes[order], names, side="left")
    ends = np.searchsorted(classes[order], names, side="right")
    spans = zip(starts, ends, totals, strict=True)
    return 100 * float(np.mean([_class_precision(hits[a:b], total) for a, b, total in spans]))


def _class_precision(hits: np.ndarray, total: int) -> float:
    right = np.cumsum(hits)
    recall, precision = right / total, right / np.arange(1, len(right) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best[np.searchsorted(recall, np.linspace(0, 1, 101), side="left")].mean())


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
