"""W ≈ Σ_r b_r ∘ f_r ∘ k¹_r ∘ …: the canonical polyadic decomposition (CP) of a kernel.

    min ‖W − Ŵ‖² + μ Σ_r ‖b_r‖² ‖f_r‖² ‖k¹_r‖² ⋯

Without the second term, components grow that cancel each other out, six times as large together as
W in trained layers of ResNet-20. Then little of what integers round away cancels out (see arXiv
2008.05441, §3, where the sum of these squares is called the sensitivity).

With all modes but one fixed, the best factor of this mode has a closed form. One sweep of
alternating least squares (ALS) replaces the factors in the order out, kernel axes, in, so that both
products with the whole kernel serve all modes:

    P = W ×_in F          for b and every k
    Q = W ×_out B         for f

Plain ALS needs hundreds of sweeps where components are nearly parallel. So it goes on from

    y_n = x_n + β_n (x_n − x_{n−1}),   β_n = n / (n + 3)

and starts again from the best factors, with n = 0, when the error rises: arXiv 1810.05846, §3.2
(Mitchell, Ye and De Sterck: β of Nesterov with restart by the function's value).

The start is exact at full rank: the kernel axes are turned to their principal directions, and the
largest singular components of all taps are taken.

In the end, b is replaced by the one of least error without μ, which makes all components a little
too small.

Differs from the papers in: the sensitivity is a term of the loss, not minimized within a bound of
the error; β counts sweeps from the last restart, and x has its components balanced.
On trained kernels of 3×3, 20 sweeps then end below 50 of plain ALS that starts from the taps.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Modes = list[Tensor]  # [out, rank], [in, rank] and [taps, rank] for each kernel axis

SWEEPS = 20
PULL = 0.03  # μ, chosen on ResNet-20
_EXACT = 8  # units of rounding of ‖W‖²: an error up to this is none
_RIDGE = 1e-6  # as a share of the mean diagonal; components may be parallel, or nothing


def canonical(
    weight: Float[Tensor, "out in *kernel"], rank: int, sweeps: int = SWEEPS, pull: float = PULL
) -> Modes:
    """Find r components of small squared error, and of small size.

    Args:
        weight: W.
        rank: r, up to `taps · min(out, in)`.
        sweeps: Largest number of sweeps, each of which replaces every factor once.
        pull: μ.

    Returns:
        A factor `[size, r]` for each mode, in the order of the axes of W.
    """
    best = moving = _start(weight, rank)
    squares, wanted = [_square(factor) for factor in best], _read_back(weight, best)
    energy = float(weight.double().square().sum())
    least = _loss(squares, wanted, best[1], 0.0)
    if energy + least <= _EXACT * torch.finfo(weight.dtype).eps * energy:
        return best
    least = _loss(squares, wanted, best[1], pull)
    count = 0  # sweeps since the last restart
    for _ in range(sweeps):
        found, error = _swept(weight, moving, pull)
        if error < least:
            before, best, least = best, _balanced(found), error
            share = count / (count + 3)
            moving = [x + share * (x - was) for x, was in zip(best, before, strict=True)]
            count += 1
        elif count:
            moving, count = best, 0
        else:
            break  # not even a sweep from the best factors helps
    return [_nearest(weight, best), *best[1:]]


def _start(weight: Tensor, rank: int) -> Modes:
    """The largest singular components of all taps, in the principal directions of every axis."""
    kernel, turned, directions = weight.shape[2:], weight, list[Tensor]()
    for axis in range(2, weight.ndim):
        unfolded = turned.movedim(axis, 0)
        own = torch.linalg.svd(unfolded.flatten(1), full_matrices=False).U
        own = own if own.shape[1] == len(own) else torch.eye(len(own)).to(own)
        directions.append(own)
        turned = torch.tensordot(own.mT, unfolded, dims=1).movedim(0, axis)
    left, values, right = torch.linalg.svd(
        turned.reshape(*weight.shape[:2], -1).movedim(2, 0), full_matrices=False
    )
    largest = values.flatten().topk(rank).indices
    tap, index = largest // values.shape[1], largest % values.shape[1]
    places = torch.unravel_index(tap, kernel) if kernel else ()
    along = [own[:, place] for own, place in zip(directions, places, strict=True)]
    behind = (left[tap, :, index] * values[tap, index, None]).mT
    return _balanced([behind, right[tap, index].mT, *along])


def _swept(weight: Tensor, modes: Modes, pull: float) -> tuple[Modes, float]:
    """Replace every factor by the one of least loss; return that, too."""
    found, squares = list(modes), [_square(factor) for factor in modes]

    def solve(mode: int, wanted: Float[Tensor, "size rank"]) -> None:
        found[mode] = _solved(squares[:mode] + squares[mode + 1 :], wanted, pull)
        squares[mode] = _square(found[mode])

    seen = weight.movedim(1, -1) @ found[1]  # P, [out, *kernel, rank]
    solve(0, _collapsed(seen, found[2:]))
    taps = (seen.movedim(0, -2) * found[0]).sum(-2)
    for axis in range(taps.ndim - 1):
        others = found[2 : 2 + axis] + found[3 + axis :]
        solve(2 + axis, _collapsed(taps.movedim(axis, 0), others))
    wanted = _read_back(weight, found)
    solve(1, wanted)
    return found, _loss(squares, wanted, found[1], pull)


def _solved(
    squares: Sequence[Tensor], wanted: Float[Tensor, "size rank"], pull: float
) -> Float[Tensor, "size rank"]:
    """The factor of least loss, by the inner products of all others."""
    gram = torch.stack(list(squares)).prod(0)
    least = _RIDGE * float(gram.diagonal().mean()) + torch.finfo(wanted.dtype).tiny
    gram.diagonal().mul_(1 + pull).add_(least)
    root = torch.linalg.cholesky(gram)
    return torch.cholesky_solve(wanted.mT.double(), root).mT.to(wanted)


def _nearest(weight: Tensor, modes: Modes) -> Float[Tensor, "out rank"]:
    """b of least error."""
    squares = [_square(factor) for factor in modes[1:]]
    return _solved(squares, _collapsed(weight.movedim(1, -1) @ modes[1], modes[2:]), 0.0)


def _read_back(weight: Tensor, modes: Modes) -> Float[Tensor, "in rank"]:
    """The product of W with all factors but that of the inputs, by Q."""
    return _collapsed(weight.movedim(0, -1) @ modes[0], modes[2:])


def _loss(squares: Sequence[Tensor], wanted: Tensor, front: Tensor, pull: float) -> float:
    """The loss less ‖W‖²: ‖Ŵ‖² − 2 ⟨W, Ŵ⟩ + μ Σ_r (size of the component r)²."""
    products = torch.stack(list(squares)).prod(0)
    sizes = products.sum() + pull * products.diagonal().sum()
    return float(sizes - 2 * (wanted.double() * front).sum())


def _collapsed(
    seen: Float[Tensor, "size *others rank"], others: Modes
) -> Float[Tensor, "size rank"]:
    """Multiply by the factors of all axes but the first, and sum over these axes."""
    for factor in reversed(others):
        seen = (seen * factor).sum(-2)
    return seen


def _square(factor: Float[Tensor, "size rank"]) -> Float[Tensor, "rank rank"]:
    """Inner products of components, in float64: parallel ones make their product singular."""
    factor = factor.double()
    return factor.mT @ factor


def _balanced(modes: Modes) -> Modes:
    """Give all factors of a component the same norm."""
    least = torch.finfo(modes[0].dtype).tiny ** (1 / 3)
    sizes = [torch.linalg.vector_norm(factor, dim=0).clamp(min=least) for factor in modes]
    size = torch.stack(sizes).log().mean(0).exp()
    return [factor * (size / own) for factor, own in zip(modes, sizes, strict=True)]
