"""E(y − ŵ·x̂)² = E[y²] − 2 ŵ·b + ŵ G ŵᵀ  with  G = E[x̂ x̂ᵀ],  b = E[y x̂]: a quadratic problem.

AdaRound, arXiv 2004.10568, §3.2 and eqs. 19-20: the task loss added by rounding one layer is the
squared error of the layer's output, to second order, and with the Hessian of that output taken as
diagonal and constant. The data are needed only through G and b: a row of weights is then chosen
without running the layer again.

Differs from the paper in: the target y is any output (that of the float layer on float inputs, or
one corrected for an error made elsewhere), while x̂ is the input in the quantized network. This
turns the paper's homogeneous form into one with a linear term. Weights may take every value of the
grid, not only the two next to the float weight. The bias is part of the problem (`centered`).

Weights are `[groups, outputs, inputs]`, with as many groups as the layer has, and with kernels
flattened into the inputs.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Weights = Float[Tensor, "groups outputs inputs"]
_MARGIN = 16  # times the norm of a matrix of rounding errors
_DOUBLINGS = 20
_COLUMNS = 512  # of a block of ŵ G ŵᵀ
_STRONG = 10  # times the uncertainty: a pull that rounding errors cannot outweigh


@dataclass(frozen=True)
class Quadratic:
    """The error of one layer's output as a function of its weights.

    Attributes:
        gram: G = E[x̂ x̂ᵀ] of the inputs of each group.
        target: B = E[y x̂ᵀ] of the wanted outputs and the inputs.
        energy: E[y²] of each wanted output.
        uncertain: How inexact G may be, because its entries were rounded; None if negligible.
    """

    gram: Float[Tensor, "groups inputs inputs"]
    target: Weights
    energy: Float[Tensor, "groups outputs"]
    uncertain: Float[Tensor, " groups"] | None = None

    def error(
        self, weights: Weights, product: Weights | None = None
    ) -> Float[Tensor, "groups outputs"]:
        """E(y − ŵ·x̂)² of each output.

        Args:
            weights: ŵ, real numbers.
            product: ŵ G, if it is known.
        """
        if product is not None:
            return self.energy + ((product - 2 * self.target) * weights).sum(-1)
        total = self.energy.clone()
        for start in range(0, weights.shape[-1], _COLUMNS):
            inside = slice(start, start + _COLUMNS)
            own, gram = weights[..., inside], self.gram[..., inside]
            pulls = own @ gram[:, inside] - 2 * self.target[..., inside]
            if start:  # G is symmetric
                pulls += 2 * (weights[..., :start] @ gram[:, :start])
            total += (pulls * own).sum(-1)
        return total

    def centered(
        self, inputs: Float[Tensor, "groups inputs"], outputs: Float[Tensor, "groups outputs"]
    ) -> "Quadratic":
        """The same problem with free biases: the best value of each bias removes all means.

        For inputs that hardly vary, the rest may be smaller than the rounding error of E[x̂ x̂ᵀ].

        Args:
            inputs: E[x̂].
            outputs: E[y].
        """
        sizes = self.gram.diagonal(dim1=-2, dim2=-1)
        norm = (sizes.mean(-1) * sizes.shape[-1] ** 0.5).maximum(sizes.amax(-1))
        return Quadratic(
            self.gram - inputs[..., :, None] * inputs[..., None, :],
            self.target - outputs[..., :, None] * inputs[..., None, :],
            self.energy - outputs.square(),
            _MARGIN * torch.finfo(norm.dtype).eps * norm,
        )

    def damped(self, weights: Weights, share: float) -> "Quadratic":
        """The problem with a pull towards given weights, which makes every Gram matrix regular.

        Args:
            weights: The weights to pull towards, the float weights.
            share: Strength as a share of the mean diagonal of G.
        """
        diagonal = self.gram.diagonal(dim1=-2, dim2=-1).mean(-1)
        pull = share * diagonal + torch.finfo(diagonal.dtype).tiny ** 0.5
        if self.uncertain is not None:
            is_weak = bool((pull < _STRONG * self.uncertain).any())
            pull = pull + self.uncertain
            pull = _regular(self.gram, pull) if is_weak else pull
        return Quadratic(
            _lifted(self.gram, pull),
            self.target + pull[:, None, None] * weights,
            self.energy + pull[:, None] * weights.square().sum(-1),
        )

    def first(self, weights: Weights, rows: slice, columns: int) -> "Quadratic":
        """The problem of the first columns and of some rows, where the other weights are given.

        Args:
            weights: The given weights, of all columns and rows.
            rows: The rows.
            columns: How many columns.
        """
        fixed, target, rest = (
            weights[:, rows, columns:],
            self.target[:, rows],
            self.gram[:, columns:],
        )
        energy = Quadratic(rest[..., columns:], target[..., columns:], self.energy[:, rows])
        return Quadratic(
            self.gram[:, :columns, :columns],
            target[..., :columns] - fixed @ rest[..., :columns],
            energy.error(fixed),
            self.uncertain,
        )


def _lifted(
    gram: Float[Tensor, "groups inputs inputs"], pull: Float[Tensor, " groups"]
) -> Float[Tensor, "groups inputs inputs"]:
    """G with a number for each group added to its diagonal."""
    found = gram.clone(memory_format=torch.contiguous_format)
    found.diagonal(dim1=-2, dim2=-1).add_(pull[:, None])
    return found


def _regular(
    gram: Float[Tensor, "groups inputs inputs"], pull: Float[Tensor, " groups"]
) -> Float[Tensor, " groups"]:
    """The pull, doubled until it makes every matrix regular.

    A difference of two matrices can be further below 0 than their rounding errors tell, since sums
    over many samples have more of them.
    """
    for _ in range(_DOUBLINGS):
        failed = torch.linalg.cholesky_ex(_lifted(gram, pull))[1] > 0
        if not bool(failed.any()):
            break
        pull = torch.where(failed, 2 * pull, pull)
    return pull


def stacked(problems: list[Quadratic]) -> Quadratic:
    """Several problems as one, whose groups are those of all of them.

    Args:
        problems: Problems of as many inputs and outputs.
    """
    if len(problems) == 1:
        return problems[0]
    parts = ((p.gram, p.target, p.energy) for p in problems)
    return Quadratic(*(torch.cat(each) for each in zip(*parts, strict=True)))


def best_weights(problem: Quadratic) -> Weights:
    """B G⁻¹: the weights of least error among all real numbers."""
    factor = torch.linalg.cholesky(problem.gram)
    return torch.cholesky_solve(problem.target.mT, factor).mT


def best_bias(
    weights: Weights,
    inputs: Float[Tensor, "groups inputs"],
    outputs: Float[Tensor, "groups outputs"],
) -> Float[Tensor, "groups outputs"]:
    """E[y] − ŵ·E[x̂]: the best bias for given weights.

    Args:
        weights: ŵ.
        inputs: E[x̂].
        outputs: E[y].
    """
    return outputs - (weights * inputs[:, None, :]).sum(-1)


def best_scale(
    problem: Quadratic,
    integers: Weights,
    scale: Float[Tensor, "groups outputs"],
    shared: bool,
    product: Weights | None = None,
) -> Float[Tensor, "groups outputs"]:
    """s = Σ b·z / Σ z G zᵀ: the scale of least error for given integers.

    Args:
        problem: The problem.
        integers: z.
        scale: The current scales, kept if the best one would not be positive.
        shared: Whether all outputs have one scale.
        product: z G, if it is known.
    """
    product = integers @ problem.gram if product is None else product
    along = (problem.target * integers).sum(-1)
    across = (product * integers).sum(-1)
    if shared:
        along, across = along.sum().expand_as(scale), across.sum().expand_as(scale)
    found = along / across
    return torch.where((along > 0) & (across > 0), found, scale)
