"""Random crops, flips and holes for small images, as uint8 arrays."""

from collections.abc import Iterator

import numpy as np

Batch = tuple[np.ndarray, np.ndarray]


def batches(images: np.ndarray, labels: np.ndarray, size: int, seed: int) -> Iterator[Batch]:
    """One epoch of augmented images in random order; a last, smaller batch is left out.

    Args:
        images: uint8 (n, h, w, 3).
        labels: (n,).
        size: Images per batch.
        seed: Draws the order and the augmentation.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    for start in range(0, len(images) - size + 1, size):
        chosen = order[start : start + size]
        yield augment(images[chosen], rng), labels[chosen]


def augment(
    images: np.ndarray, rng: np.random.Generator, shift: int = 4, hole: int = 8
) -> np.ndarray:
    """Shift and mirror each image at random, and grey out a square of it.

    Args:
        images: uint8 (n, h, w, 3).
        rng: Source of the random numbers.
        shift: Largest shift in pixels; the border is mirrored.
        hole: Side of the square in pixels; parts of it may lie outside. 0: none.
    """
    n, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="reflect")
    rows = np.arange(height) + rng.integers(0, 2 * shift + 1, (n, 1))
    columns = np.arange(width) + rng.integers(0, 2 * shift + 1, (n, 1))
    mirrored = rng.random(n) < 0.5
    columns[mirrored] = columns[mirrored, ::-1]
    moved = padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    inside = _near(height, hole, n, rng)[:, :, None] & _near(width, hole, n, rng)[:, None, :]
    moved[inside] = 127
    return moved


def _near(length: int, hole: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Which positions (n, length) of one axis lie in a span of `hole` around a random centre."""
    first = rng.integers(0, length, (n, 1)) - hole // 2
    places = np.arange(length)
    return (places >= first) & (places < first + hole)
