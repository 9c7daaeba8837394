"""min E‖y − Ŵ x̂‖² over weights Ŵ that are the product of a chain of factors.

This error is a quadratic function of Ŵ (`tersor.core.quadratic`). x̂ is the input in the compressed
network, and y the output of the float layer: "asymmetric" in arXiv 1505.06798, §3.3. The weights of
least error without a limit on the rank (B G⁻¹), reduced to rank r, are the best weights with this
limit: the reduced-rank regression of §3.2, exact for the SVD. For the other methods this is the
starting point. The last factor then has a closed form with the others fixed, and L-BFGS moves all
of them together.

Differs from the paper in: all methods are fitted, not only the SVD; the Gram matrix is that of
whole patches.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.decompose import Chain, Weight, compose
from tersor.core.quadratic import Quadratic, best_weights
from tersor.core.ranks import decompositions
from tersor.names import Method

#: Found in many sweeps: a second start costs as much again, and ResNet-20 had 0.1 points of it.
ITERATED: tuple[Method, ...] = ("cp", "depthwise")
_RIDGE = 1e-6  # pulls components that nothing reads towards their previous values


def decompose_on_data(
    method: Method, weight: Weight, ranks: Sequence[int], problem: Quadratic, steps: int
) -> Chain:
    """Find the factors of least output error.

    Args:
        method: The decomposition.
        weight: W, whose own factors are the second starting point where they cost little.
        ranks: The ranks.
        problem: The error as a function of Ŵ, for one group; regular.
        steps: Largest number of L-BFGS steps; "svd" needs none.
    """
    return decompositions_on_data(method, weight, problem, steps)(ranks)


def decompositions_on_data(
    method: Method, weight: Weight, problem: Quadratic, steps: int
) -> Callable[[Sequence[int]], Chain]:
    """Find the factors of least output error at any ranks; see `decompose_on_data`.

    Args:
        method: The decomposition.
        weight: W.
        problem: The error as a function of Ŵ, for one group; regular.
        steps: Largest number of L-BFGS steps.
    """
    best = best_weights(problem)[0].reshape(weight.shape)
    of_best = decompositions(method, best, problem.gram[0])
    if method == "svd":
        return of_best
    others = [] if method in ITERATED else [decompositions(method, weight)]

    def at(ranks: Sequence[int]) -> Chain:
        starts = [refit_last(start(ranks), problem) for start in (of_best, *others)]
        return descend(min(starts, key=lambda start: float(error(start, problem))), problem, steps)

    return at


def refit_last(chain: Chain, problem: Quadratic) -> Chain:
    """Replace the last factor by the one of least error: a linear regression on its input.

    Args:
        chain: The factors.
        problem: The error as a function of Ŵ, of one group.
    """
    last = chain[-1]
    taps = torch.eye(last[0].numel(), dtype=last.dtype, device=last.device)
    reads = compose([*chain[:-1], taps.reshape(-1, *last.shape[1:])]).flatten(1)
    seen = Quadratic(reads @ problem.gram @ reads.mT, problem.target @ reads.mT, problem.energy)
    found = best_weights(seen.damped(last.flatten(1)[None], _RIDGE))
    return [*chain[:-1], found[0].reshape(last.shape)]


def error(chain: Chain, problem: Quadratic) -> Float[Tensor, ""]:
    """E‖y − Ŵ x̂‖², summed over outputs.

    Args:
        chain: The factors.
        problem: The error as a function of Ŵ, of one group.
    """
    return problem.error(compose(chain).flatten(1)[None]).sum()


def descend(chain: Chain, problem: Quadratic, steps: int) -> Chain:
    """Move all factors together by L-BFGS; the error never increases.

    Args:
        chain: The starting point.
        problem: The error as a function of Ŵ, of one group.
        steps: Largest number of steps.
    """
    if steps == 0:
        return chain
    factors = [
        factor.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        for factor in chain
    ]
    unit = float(problem.energy.sum()) or 1.0
    search = torch.optim.LBFGS(
        factors, max_iter=steps, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        search.zero_grad()
        weight = compose(factors)
        flat = weight.detach().flatten(1)[None]
        product = flat @ problem.gram
        pull = 2 / unit * (product - problem.target)  # dE/dŴ = 2 (Ŵ G − B)
        weight.backward(pull[0].view_as(weight))
        return problem.error(flat, product).sum() / unit

    with torch.enable_grad():
        search.step(closure)  # pyright: ignore[reportArgumentType]
    found = [factor.detach() for factor in factors]
    better = bool(error(found, problem) <= error(chain, problem))
    return found if better else chain
