"""The sizes of the factors of a decomposition, and the ranks that keep the most for a given cost.

A method with several ranks has a matrix for each: an unfolding of the weight. The singular values
beyond the rank are lost. Starting from full rank, the rank is reduced whose smallest singular value
σ loses the least for what it saves: σ² / saved MACs.

Differs from the papers in: arXiv 1511.06530, §3.2, takes ranks from variational Bayesian matrix
factorization, which has no budget; arXiv 1405.3866 and 1412.6553 choose them by hand.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.decompose import Chain, Weight, cp, depthwise, spatials, svds, tensor_train, tucker
from tersor.names import Method

Shape = tuple[int, ...]
Ranks = tuple[int, ...]


def decompose(
    method: Method, weight: Weight, ranks: Sequence[int], gram: Tensor | None = None
) -> Chain:
    """Compute the factors of a weight.

    Args:
        method: The decomposition.
        weight: W.
        ranks: The ranks, as many as `full_ranks` returns for the method.
        gram: G of the patches, for the methods that can use it: `"svd"` and `"spatial"`.
    """
    return decompositions(method, weight, gram)(ranks)


def decompositions(
    method: Method, weight: Weight, gram: Tensor | None = None
) -> Callable[[Sequence[int]], Chain]:
    """Decompose a weight at any ranks; what does not depend on them is computed once.

    Args:
        method: The decomposition.
        weight: W.
        gram: See `decompose`.
    """
    match method:
        case "svd":
            by_svd = svds(weight, gram)
            return lambda ranks: by_svd(ranks[0])
        case "spatial":
            by_axis = spatials(weight, gram)
            return lambda ranks: by_axis(ranks[0])
        case "cp":
            return lambda ranks: cp(weight, ranks[0])
        case "depthwise":
            return lambda ranks: depthwise(weight, ranks[0])
        case "tucker":
            return lambda ranks: tucker(weight, ranks)
        case "tensor_train":
            return lambda ranks: tensor_train(weight, ranks)


def shapes_of(method: Method, weight: Sequence[int], ranks: Sequence[int]) -> list[Shape]:
    """The shapes of the factors, in the order in which they run.

    Args:
        method: The decomposition.
        weight: Shape of W.
        ranks: The ranks.
    """
    out, inputs, *kernel = weight
    point = [1] * len(kernel)
    alone = [_only(kernel, axis) for axis, taps in enumerate(kernel) if taps > 1]
    first, last = ranks[0], ranks[-1]
    match method:
        case "svd":
            return [(first, inputs, *kernel), (out, first, *point)]
        case "spatial":
            return [(first, inputs, kernel[0], *point[1:]), (out, first, 1, *kernel[1:])]
        case "cp":
            along = [(first, 1, *taps) for taps in alone]
            return [(first, inputs, *point), *along, (out, first, *point)]
        case "depthwise":
            along = [(first, 1, *kernel)] if alone else []
            return [(first, inputs, *point), *along, (out, first, *point)]
        case "tucker":
            return [(first, inputs, *point), (last, first, *kernel), (out, last, *point)]
        case "tensor_train":
            steps = zip(ranks[1:], ranks, alone, strict=False)
            along = [(after, before, *taps) for after, before, taps in steps]
            return [(first, inputs, *point), *along, (out, last, *point)]


def _only(kernel: Sequence[int], axis: int) -> Shape:
    return tuple(taps if each == axis else 1 for each, taps in enumerate(kernel))


def full_ranks(method: Method, weight: Weight) -> Ranks:
    """The ranks at which a decomposition is exact.

    Args:
        method: The decomposition.
        weight: W.
    """
    if method in ("cp", "depthwise"):
        return (min(weight.shape[:2]) * weight[0, 0].numel(),)
    return tuple(min(matrix.shape) for matrix in unfoldings(method, weight))


def unfoldings(method: Method, weight: Weight) -> list[Float[Tensor, "..."]]:
    """The matrices whose ranks a decomposition limits, one for each of its ranks.

    CP and `"depthwise"` limit the rank of no matrix; theirs is bounded by the sum over taps.

    Args:
        method: The decomposition.
        weight: W.
    """
    out, inputs, *kernel = weight.shape
    match method:
        case "svd":
            return [weight.flatten(1)]
        case "spatial":
            return [weight.reshape(out, inputs * kernel[0], -1).mT.flatten(0, 1)]
        case "cp" | "depthwise":
            return []
        case "tucker":
            return [weight.movedim(1, 0).flatten(1), weight.flatten(1)]
        case "tensor_train":
            last = weight.movedim(0, -1).reshape(*[inputs, *(k for k in kernel if k > 1)], out)
            return [last.flatten(0, axis).flatten(1) for axis in range(last.ndim - 1)]


def best_ranks(
    method: Method, weight: Weight, most: int, macs: Callable[[Ranks], int]
) -> Ranks | None:
    """Find the ranks that keep the most of a weight within a number of MACs; None if none fit.

    Args:
        method: The decomposition.
        weight: W.
        most: The largest allowed cost.
        macs: Computes the cost of the factors with given ranks.
    """
    ranks = full_ranks(method, weight)
    if macs((1,) * len(ranks)) > most:
        return None
    if len(ranks) == 1:
        return (_largest(ranks[0], lambda rank: macs((rank,)) <= most),)
    energies = [torch.linalg.svdvals(m).square().tolist() for m in unfoldings(method, weight)]
    while (cost := macs(ranks)) > most:
        smaller = [_one_less(ranks, axis) for axis, rank in enumerate(ranks) if rank > 1]
        ranks = min(smaller, key=lambda less: _loss(ranks, less, energies) / (cost - macs(less)))
    return attainable(method, weight.shape, ranks)


def attainable(method: Method, weight: Sequence[int], ranks: Ranks) -> Ranks:
    """Reduce ranks that cannot be used in full: a factor of t taps changes a rank at most t-fold.

    Args:
        method: The decomposition.
        weight: Shape of W.
        ranks: The ranks.
    """
    kernel = [taps for taps in weight[2:] if taps > 1]
    between = [math.prod(kernel)] if method == "tucker" else kernel
    found = list(ranks)
    for position in range(1, len(found)):
        found[position] = min(found[position], found[position - 1] * between[position - 1])
    for position in reversed(range(1, len(found))):
        found[position - 1] = min(found[position - 1], found[position] * between[position - 1])
    return tuple(found)


def aligned(
    method: Method, weight: Weight, ranks: Ranks, multiple: int, fits: Callable[[Ranks], bool]
) -> Ranks:
    """Round ranks to multiples of a number: up if that fits, else down, else not at all.

    Kernels compute channels in blocks, so ranks in between are no cheaper.

    Args:
        method: The decomposition.
        weight: W.
        ranks: The ranks.
        multiple: The number.
        fits: Whether ranks are small enough; the given ones are.
    """
    up = [math.ceil(rank / multiple) * multiple for rank in ranks]
    down = [max(rank // multiple * multiple, min(rank, multiple)) for rank in ranks]
    most = full_ranks(method, weight)
    for some in (up, down):
        held = tuple(min(rank, limit) for rank, limit in zip(some, most, strict=True))
        found = attainable(method, weight.shape, held)
        if fits(found):
            return found
    return ranks


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 1 to `most` that fits; 1 fits, and so does any smaller number."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _one_less(ranks: Ranks, axis: int) -> Ranks:
    return tuple(rank - (each == axis) for each, rank in enumerate(ranks))


def _loss(ranks: Ranks, less: Ranks, energies: list[list[float]]) -> float:
    """The σ² that is lost between two neighbouring ranks."""
    return sum(e[b] for a, b, e in zip(ranks, less, energies, strict=True) if b < a)
