"""W ≈ K_n ∘ … ∘ K_1: one convolution becomes a chain of cheaper ones.

    svd           k×k, 1×1                 arXiv 1505.06798, §3.1 (Zhang et al.)
    spatial       k×1, 1×k                 arXiv 1405.3866, §2.1 (Jaderberg et al.), scheme 2
    tucker        1×1, k×k, 1×1            arXiv 1511.06530, §3.1 (Kim et al.)
    cp            1×1, depthwise k×1 and 1×k, 1×1      arXiv 1412.6553, §3.2 (Lebedev et al.)
    depthwise     1×1, depthwise k×k, 1×1  the same of `[out, in, taps]`: arXiv 2008.05441, §2
    tensor_train  1×1, k×1, 1×k, 1×1       Oseledets, SIAM J. Sci. Comput. 33(5), 2011, algorithm 1

A weight is `[out, in, *kernel]` with any number of kernel axes; a linear layer has none. Each
factor is such a weight, too, with size 1 along the kernel axes that belong to another factor.
Factors have no bias, so zero padding passes through them: the chain equals one convolution with the
weight `compose(chain)`.

Differs from the papers in: all six start from the same function, `low_rank`, which minimizes the
error on data if a Gram matrix is given, or from `tersor.core.canonical`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.canonical import canonical

Weight = Float[Tensor, "out in *kernel"]
Chain = list[Tensor]  # weights of convolutions, in the order in which they run


def low_rank(
    matrix: Float[Tensor, "rows columns"],
    rank: int,
    gram: Float[Tensor, "columns columns"] | None = None,
) -> tuple[Float[Tensor, "rows rank"], Float[Tensor, "rank columns"]]:
    """Find the product L R of rank r that minimizes E‖(M − L R) x‖²: L = U, R = Uᵀ M.

    U holds the first left singular vectors of M G^½, with G = E[x xᵀ]. Without G this is the
    truncated SVD. If M is the weight W, it is the SVD whitened by the input. If M is the weight of
    least error against some output y, it is the reduced-rank regression of y on x (arXiv
    1505.06798, §3.2). The two factors get the same norm for each component.

    Args:
        matrix: M.
        rank: r.
        gram: G; default: the identity.
    """
    return low_ranks(matrix, gram)(rank)


def low_ranks(
    matrix: Float[Tensor, "rows columns"], gram: Float[Tensor, "columns columns"] | None = None
) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Find `low_rank` of any rank: all take the first of the same singular vectors.

    Args:
        matrix: M.
        gram: G; default: the identity.
    """
    seen = matrix if gram is None else matrix @ square_root(gram)
    vectors = torch.linalg.svd(seen, full_matrices=False).U

    def of_rank(rank: int) -> tuple[Tensor, Tensor]:
        left = vectors[:, :rank]
        right = left.mT @ matrix
        tiny = torch.finfo(right.dtype).tiny ** 0.5
        size = torch.linalg.vector_norm(right, dim=1).clamp(min=tiny).sqrt()
        return left * size, right / size[:, None]

    return of_rank


def square_root(gram: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The symmetric square root of a positive semi-definite matrix.

    Args:
        gram: The matrix; negative eigenvalues are rounding errors and count as 0.
    """
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.mT


def svd(weight: Weight, rank: int, gram: Float[Tensor, "n n"] | None = None) -> Chain:
    """Weight SVD: the whole kernel to r channels, then 1×1.

    Args:
        weight: W.
        rank: r, up to `min(out, in · taps)`.
        gram: G of the patches, flattened as a row of W.
    """
    return svds(weight, gram)(rank)


def svds(weight: Weight, gram: Float[Tensor, "n n"] | None = None) -> Callable[[int], Chain]:
    """Weight SVDs of any rank; see `svd`."""
    found = low_ranks(weight.flatten(1), gram)

    def of_rank(rank: int) -> Chain:
        left, right = found(rank)
        return [right.reshape(rank, *weight.shape[1:]), _pointwise(left, weight.ndim - 2)]

    return of_rank


def spatial(weight: Weight, rank: int, gram: Float[Tensor, "n n"] | None = None) -> Chain:
    """Spatial SVD: the first kernel axis to r channels, then the other axes.

    Args:
        weight: W, with at least one kernel axis.
        rank: r, up to `min(in · k, out · the other taps)`.
        gram: G of the patches. The loss is then computed as if the taps of the second factor were
            uncorrelated.
    """
    return spatials(weight, gram)(rank)


def spatials(weight: Weight, gram: Float[Tensor, "n n"] | None = None) -> Callable[[int], Chain]:
    """Spatial SVDs of any rank; see `spatial`."""
    out, inputs, taps, *others = weight.shape
    side = None if gram is None else _columns_gram(gram, inputs * taps)
    found = low_ranks(weight.reshape(out, inputs * taps, -1).mT.flatten(0, 1), side)

    def of_rank(rank: int) -> Chain:
        left, right = found(rank)
        first = right.reshape(rank, inputs, taps, *[1] * len(others))
        return [first, left.reshape(out, -1, rank).mT.reshape(out, rank, 1, *others)]

    return of_rank


def _columns_gram(gram: Tensor, size: int) -> Tensor:
    """Sum G over the axes that the first factor does not have."""
    return gram.unflatten(0, (size, -1)).unflatten(2, (size, -1)).diagonal(dim1=1, dim2=3).sum(-1)


def tucker(weight: Weight, ranks: Sequence[int]) -> Chain:
    """Tucker-2 by higher-order orthogonal iteration: 1×1, a small core, 1×1.

    Args:
        weight: W.
        ranks: Channels before the core, up to `min(in, out · taps)`, and after it, up to
            `min(out, in · taps)`.
    """
    with _tensorly() as decomposition:
        found, _ = decomposition.partial_tucker(weight, [ranks[1], ranks[0]], modes=[0, 1])
    core, factors = found
    behind, front = factors
    axes = weight.ndim - 2
    return [_pointwise(front.mT, axes), core, _pointwise(behind, axes)]


def cp(weight: Weight, rank: int) -> Chain:
    """Canonical polyadic decomposition: 1×1, one kernel axis at a time, 1×1.

    Args:
        weight: W.
        rank: r, up to `taps · min(out, in)`.
    """
    axes = [axis for axis, taps in enumerate(weight.shape[2:]) if taps > 1]
    longer = weight.reshape(*weight.shape[:2], *(weight.shape[2 + axis] for axis in axes))
    behind, front, *kernel = canonical(longer, rank)
    among = weight.ndim - 2
    along = [_depthwise(taps, axis, among) for axis, taps in zip(axes, kernel, strict=True)]
    return [_pointwise(front.mT, among), *along, _pointwise(behind, among)]


def depthwise(weight: Weight, rank: int) -> Chain:
    """`cp` with all taps of a kernel as one axis: 1×1, the whole kernel channel by channel, 1×1.

    Args:
        weight: W.
        rank: r, up to `taps · min(out, in)`.
    """
    axes, kernel = weight.ndim - 2, weight.shape[2:]
    front, *along, behind = cp(weight.reshape(*weight.shape[:2], -1), rank)
    whole = [each.reshape(rank, 1, *kernel) for each in along]
    return [_pointwise(front[..., 0], axes), *whole, _pointwise(behind[..., 0], axes)]


def tensor_train(weight: Weight, ranks: Sequence[int]) -> Chain:
    """Tensor-train by successive SVDs over the axes in, kernel, out: 1×1, one axis each, 1×1.

    Args:
        weight: W.
        ranks: Channels between the factors, one more than there are kernel axes longer than 1.
    """
    rest, chain, before = weight.movedim(0, -1).flatten(1), [], weight.shape[1]
    axes = [axis for axis, taps in enumerate(weight.shape[2:]) if taps > 1]
    for axis, rank in zip((None, *axes), ranks, strict=True):
        taps = 1 if axis is None else weight.shape[2 + axis]
        matrix = rest.reshape(before * taps, -1)
        left = torch.linalg.svd(matrix, full_matrices=False).U[:, :rank]
        rest = left.mT @ matrix
        shape = [1] * (weight.ndim - 2)
        if axis is not None:
            shape[axis] = taps
        chain.append(left.mT.reshape(rank, before, *shape))
        before = rank
    return [*chain, _pointwise(rest.mT, weight.ndim - 2)]


def compose(chain: Sequence[Tensor]) -> Weight:
    """Compute the weight of the single convolution that a chain equals.

    Args:
        chain: The factors; one with a single input channel and several outputs is depthwise.
    """
    weight = chain[0]
    for factor in chain[1:]:
        if factor.shape[1] == weight.shape[0]:
            weight = torch.einsum("nr...,rm...->nm...", factor, weight)
        else:
            weight = factor * weight
    return weight


@contextmanager
def _tensorly() -> Iterator[Any]:
    """Import TensorLy's decompositions of torch tensors, for this thread only.

    Imported when first used, since importing takes a second.
    """
    tensorly: Any = import_module("tensorly")
    with tensorly.backend_context("pytorch", local_threadsafe=True):
        yield import_module("tensorly.decomposition")


def _pointwise(matrix: Float[Tensor, "out in"], axes: int) -> Weight:
    """A matrix as a kernel with one tap along each axis."""
    return matrix.reshape(*matrix.shape, *[1] * axes)


def _depthwise(taps: Float[Tensor, "taps channels"], axis: int, axes: int) -> Tensor:
    """A kernel along one axis for each channel."""
    shape = [1] * axes
    shape[axis] = len(taps)
    return taps.mT.reshape(-1, 1, *shape)
