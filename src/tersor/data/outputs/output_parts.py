"""Finds what an output is, part by part: classes, scores, embeddings, or any values.

A detector may return boxes in pixels and scores in 0…1 as one tensor. A figure for all of it hides
the scores, so every run of equal nature along an axis is a part of its own.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor

Kind = Literal["classes", "scores", "embeddings", "values", "integers"]
_CLOSE = 5e-3  # half-precision sums to 1 within this
_NARROW = 8  # numbers: a shorter vector is not an embedding
_FEATURES = 64  # the width of a vector of features is a multiple of this
_ENOUGH = 64  # values that tell whether all of an index lie within 0…1
_MOST_PARTS = 8
_FEW = 32  # columns that may be numbers of a regression
ROWS = 16  # samples that tell
_APART = 0.5
_SINGLE = 4  # scores of a sample; where there are more, none decides alone
_FAR = 32.0  # neighbours whose ranges differ by more than this are different things
_CLASSES = re.compile(r"logit|prob|class|categor|label|softmax|segm", re.IGNORECASE)
_VECTORS = re.compile(r"embed|feature|pooled|pooler|vector", re.IGNORECASE)
_NUMBERS = re.compile(r"box|coord|landmark|keypoint|points|offset|depth|pose|angle", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """A part of an output that is judged by itself.

    Attributes:
        output: Name of the output; empty if it has none.
        kind: `classes` compete along the axis, `scores` lie within 0…1, `embeddings` are vectors
            of which the direction counts, `integers` are right or wrong, `values` are the rest.
        axis: The axis of classes and vectors, or the one along which the output is divided.
        start: First index along that axis.
        stop: One more than the last index; None if the part is the whole output.
        single: Whether a sample has but a few such scores, each of which decides something.
    """

    output: str
    kind: Kind
    axis: int = -1
    start: int = 0
    stop: int | None = None
    single: bool = False

    @property
    def name(self) -> str:
        """The name of the output, with the indices of the part: `output0[4:22]`."""
        name = self.output or "output"
        return name if self.stop is None else f"{name}[{self.start}:{self.stop}]"

    def of(self, output: Tensor) -> Tensor:
        """Cut the part out of an output; classes and vectors lie along the last axis.

        Args:
            output: The output.
        """
        if self.stop is not None:
            return output.narrow(self.axis, self.start, self.stop - self.start)
        whole = self.axis == -1 or not output.ndim
        return output if whole else output.movedim(self.axis, -1)


def find_parts(name: str, reference: Tensor, labelled: bool = False) -> tuple[Part, ...]:
    """Find what an output is by its values, its name, and its shape.

    Args:
        name: Name of the output; may be empty.
        reference: What the float network returns for one batch.
        labelled: Whether there are labels, so that what may be logits is.
    """
    if not reference.is_floating_point():
        return (Part(name, "integers"),)
    x = reference.detach().double()
    found = _competing(name, x) or _vectors(name, x) or _cut(name, x)
    if found:
        return found
    if _is_unit(x):
        rows = len(x) if x.ndim else 1
        return (Part(name, "scores", single=x.numel() <= _SINGLE * rows),)
    return (Part(name, "classes" if _are_logits(name, x, labelled) else "values"),)


def _competing(name: str, x: Tensor) -> tuple[Part, ...]:
    """Classes that are certain: a softmax along an axis, its logarithm, or a name that says so."""
    for axis in dict.fromkeys((x.ndim - 1, 1)):
        if 0 < axis < x.ndim and x.shape[axis] > 1 and (_sums(x, axis) or _sums(x.exp(), axis)):
            return (Part(name, "classes", -1 if axis == x.ndim - 1 else axis),)
    if x.ndim < 2 or not _CLASSES.search(name) or _is_unit(x):
        return ()
    axis = 1 if x.ndim == 4 else -1  # an image has its channels first
    return (Part(name, "classes", axis),) if x.shape[axis] > 1 else ()


def _sums(x: Tensor, axis: int) -> bool:
    """Whether numbers of 0…1 sum to one along an axis, as after a softmax."""
    return x.numel() > 0 and _is_unit(x) and bool(((x.sum(axis) - 1).abs() < _CLOSE).all())


def _is_unit(x: Tensor) -> bool:
    return x.numel() > 0 and float(x.min()) >= 0 and 0 < float(x.max()) <= 1 + _CLOSE


def _vectors(name: str, x: Tensor) -> tuple[Part, ...]:
    """Embeddings: vectors of length one, or whose name says so."""
    if x.ndim not in (2, 3) or x.shape[-1] < _NARROW:
        return ()
    length_one = bool(((x.norm(dim=-1) - 1).abs() < _CLOSE).all())
    return (Part(name, "embeddings"),) if length_one or _VECTORS.search(name) else ()


def _are_logits(name: str, x: Tensor, labelled: bool) -> bool:
    """Whether `[batch, width]` may be logits: signed, and not as wide as features are."""
    if x.ndim != 2 or x.shape[1] < 2 or _NUMBERS.search(name):
        return False
    may_be = bool((x < 0).any()) and x.shape[1] % _FEATURES > 0
    return may_be and (labelled or not _vary_apart(x))


def _vary_apart(x: Tensor) -> bool:
    """Whether a few columns are numbers of their own, and no logits: Var[Σ y] ≥ ½ Σ Var[y].

    A softmax does not see what is common to all logits, and its gradients sum to zero. So the sum
    of trained logits hardly varies: by less than 10⁻⁵ of that, for networks trained on CIFAR-10.
    Independent numbers give 1.
    """
    if x.shape[1] > _FEW or len(x) < ROWS:
        return False
    return bool(x.sum(1).var() >= _APART * x.var(0).sum())


def _cut(name: str, x: Tensor) -> tuple[Part, ...]:
    """The parts along the axis that has fewest, or nothing if no axis has several."""
    found = [_along(x, axis) for axis in range(1, x.ndim)]
    axes = [(runs, axis) for axis, runs in enumerate(found, 1) if 1 < len(runs) <= _MOST_PARTS]
    if not axes:
        return ()
    runs, axis = min(axes, key=lambda item: len(item[0]))
    ends = [*runs[1:], x.shape[axis]]
    pieces = [x.narrow(axis, start, end - start) for start, end in zip(runs, ends, strict=True)]
    kinds: list[Kind] = ["scores" if _is_unit(piece) else "values" for piece in pieces]
    return tuple(
        Part(name, kind, axis, start, end)
        for kind, start, end in zip(kinds, runs, ends, strict=True)
    )


def _along(x: Tensor, axis: int) -> list[int]:
    """Where a run of equal nature begins: within 0…1 or not, and of about one range."""
    rows = x.movedim(axis, 0).flatten(1)
    if rows.shape[1] < _ENOUGH:
        return [0]
    sizes = rows.square().mean(1).sqrt().tolist()
    units = ((rows.amin(1) >= 0) & (rows.amax(1) <= 1 + _CLOSE)).tolist()
    seen = [i for i, size in enumerate(sizes) if size > 0]  # an index of zeros has no nature
    starts, largest = [0], 0.0
    for before, i in pairwise(seen):
        largest = max(largest, sizes[before])
        far = not units[i] and max(largest, sizes[i]) > _FAR * min(largest, sizes[i])
        if units[i] != units[before] or far:
            starts.append(i)
            largest = 0.0
    return starts
