"""When two answers are the same: boxes, texts, classes, maps and vectors."""

from typing import Any

import numpy as np

from benchmarks.real_files.entry import Score

_HIT = 0.5


def equal(reference: Any, answer: Any) -> Score:
    """The same class, text or list."""
    return float(reference == answer), 1.0


def share_equal(reference: np.ndarray, answer: np.ndarray) -> Score:
    """Elements that are the same."""
    if reference.shape != answer.shape:
        return 0.0, float(reference.size)
    return float((reference == answer).sum()), float(reference.size)


def overlap(reference: np.ndarray, answer: np.ndarray) -> Score:
    """Intersection over union of two maps of truth values."""
    if reference.shape != answer.shape:
        return 0.0, float(reference.sum())
    return float((reference & answer).sum()), float((reference | answer).sum())


def cosine(reference: np.ndarray, answer: np.ndarray) -> Score:
    """The cosine of the angle between two vectors."""
    if reference.shape != answer.shape or not np.isfinite(answer).all():
        return 0.0, 1.0
    a, b = reference.ravel().astype(np.float64), answer.ravel().astype(np.float64)
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30)), 1.0


def box_f1(reference: np.ndarray, answer: np.ndarray) -> Score:
    """F1 of boxes (n, 5): left, top, right, bottom and class; a hit has its class and half overlap.

    Both are in the order of their scores, the best first.
    """
    free = np.ones(len(reference), bool)
    hits = 0
    for box in answer:
        shared = np.where(free & (reference[:, 4] == box[4]), overlaps(box, reference), 0.0)
        if len(shared) and shared.max() >= _HIT:
            free[shared.argmax()] = False
            hits += 1
    return 2.0 * hits, float(len(reference) + len(answer))


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with each of many."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:4], boxes[:, 2:4])
    shared = np.clip(high - low, 0, None).prod(1)
    areas = (boxes[:, 2:4] - boxes[:, :2]).prod(1)
    return shared / np.maximum((box[2:4] - box[:2]).prod() + areas - shared, 1e-9)


def best_boxes(
    boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, *, least: float, most: float
) -> np.ndarray:
    """Of boxes that overlap, only the best; (n, 5) with the class, the best first.

    Args:
        boxes: (n, 4): left, top, right, bottom.
        scores: (n,).
        classes: (n,).
        least: Scores below are passed over.
        most: Overlap that two boxes may have.
    """
    chosen = scores >= least
    found = np.column_stack([boxes, classes])[chosen]
    found = found[np.argsort(-scores[chosen], kind="stable")]
    kept = []
    while len(found):
        kept.append(found[0])
        found = found[1:][overlaps(found[0], found[1:]) <= most]
    return np.array(kept, np.float64).reshape(-1, 5)


def collapsed(indices: np.ndarray) -> list[int]:
    """Greedy decoding of CTC: repetitions are one, and 0 is none."""
    changes = np.flatnonzero(np.diff(indices, prepend=-1))
    return [int(i) for i in indices[changes] if i != 0]


def letters_right(wanted: str, read: str) -> Score:
    """Letters of a text that were read: its length less the edit distance."""
    row = list(range(len(read) + 1))
    for i, letter in enumerate(wanted, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(read, 1):
            cost = min(row[j] + 1, row[j - 1] + 1, previous + (letter != other))
            previous, row[j] = row[j], cost
    return float(max(len(wanted) - row[-1], 0)), float(len(wanted))
