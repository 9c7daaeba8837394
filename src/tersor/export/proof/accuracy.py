"""The share of samples that are classified correctly."""

from collections.abc import Mapping, Sequence

import numpy as np

from tersor.errors import InvalidInputError


def accuracy(
    labels: Sequence[np.ndarray], predictions: Mapping[str, Sequence[np.ndarray]], classes: int
) -> dict[str, float]:
    """Share of correct predictions by model; empty without labels.

    Args:
        labels: The class of each sample, in parts.
        predictions: Name of a model → its predictions, in parts.
        classes: How many classes there are.

    Raises:
        InvalidInputError: There are other labels than predictions, or some are no classes.
    """
    if not labels:
        return {}
    wanted = np.concatenate([array.ravel() for array in labels])
    found = {name: np.concatenate(parts) for name, parts in predictions.items()}
    for predicted in found.values():
        if predicted.shape != wanted.shape:
            raise InvalidInputError(f"{len(wanted)} labels for {len(predicted)} predictions")
    if found:
        _check_classes(wanted, classes)
    return {name: float((predicted == wanted).mean()) for name, predicted in found.items()}


def _check_classes(labels: np.ndarray, classes: int) -> None:
    is_class = np.isin(labels, np.arange(classes).astype(labels.dtype))
    if is_class.all() and labels.dtype.kind in "iufb":
        return
    wrong = labels[~is_class].flat[0] if (~is_class).any() else labels.flat[0]
    raise InvalidInputError(
        f"label {wrong} is no class: the output has {classes}, from 0 to {classes - 1}; give the "
        "number of a class for each sample, and leave samples without one out"
    )
