"""E[x̂ x̂ᵀ], E[y x̂ᵀ], E[y²], E[x̂], E[y]: all that a least-squares solver needs of a layer's data.

The means are taken over output positions that are sampled from every batch, in one pass.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.quadratic import Quadratic
from tersor.data.patches import choose_positions, read_patches, written_outputs
from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer

_ROWS = 128  # of a block of the Gram matrix


@dataclass(frozen=True)
class Moments:
    """The moments of the data of one layer.

    Attributes:
        problem: The output error as a function of the weights, without the bias.
        inputs: E[x̂].
        outputs: E[y], without the bias.
    """

    problem: Quadratic
    inputs: Float[Tensor, "groups inputs"]
    outputs: Float[Tensor, "groups outputs"]

    def centered(self) -> Quadratic:
        """The problem with a free bias."""
        return self.problem.centered(self.inputs, self.outputs)


def moments_of(
    layer: Layer,
    pairs: Iterable[tuple[Tensor, Tensor]],
    positions: int,
    generator: torch.Generator,
) -> Moments:
    """Compute the moments in one pass over the data of one layer.

    Args:
        layer: A linear layer or a convolution that is not transposed.
        pairs: The input of the layer and its wanted output, bias included, for each batch.
        positions: Number of output positions to draw from every sample of a batch.
        generator: The source of random numbers.

    Raises:
        InvalidInputError: The squares of values are beyond float32; names the layer.
    """
    sums: list[Tensor] = []
    samples = 0
    for patches, outputs in sampled(layer, pairs, positions, generator):
        samples += patches.shape[-1]
        cross, energy = outputs @ patches.mT, outputs.square().sum(-1)
        parts = cross, energy, patches.sum(-1), outputs.sum(-1)
        if not sums:
            size = patches.shape[1]
            sums = [patches.new_zeros(len(patches), size, size), *map(torch.zeros_like, parts)]
        _add_products(sums[0], patches)
        for total, part in zip(sums[1:], parts, strict=True):
            total += part
    half, cross, energy, mean_x, mean_y = (total.div_(samples) for total in sums)
    for what, squares in (("reads", half.diagonal(dim1=-2, dim2=-1)), ("writes", energy)):
        if not bool(squares.isfinite().all()):
            raise InvalidInputError(
                f"layer {layer.name!r} {what} values whose squares are beyond float32; give "
                "samples as the model expects them, or leave the layer as it is (exclude=, "
                "--exclude)"
            )
    gram = half.tril_().add_(half.tril(-1).mT)
    return _without_bias(layer, Moments(Quadratic(gram, cross, energy), mean_x, mean_y))


def _add_products(total: Tensor, x: Tensor) -> None:
    """Add the lower triangle of x xᵀ, and what of the upper one lies in the same blocks."""
    for start in range(0, x.shape[1], _ROWS):
        stop = start + _ROWS
        total[:, start:stop, :stop].baddbmm_(x[:, start:stop], x[:, :stop].mT)


def sampled(
    layer: Layer,
    pairs: Iterable[tuple[Tensor, Tensor]],
    positions: int,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over the inputs of a layer and its wanted outputs at random positions, by batch.

    Args:
        layer: See `moments_of`.
        pairs: See `moments_of`.
        positions: See `moments_of`.
        generator: See `moments_of`.

    Yields:
        Patches `[groups, inputs, samples]` and outputs `[groups, outputs, samples]`.
    """
    for x, y in pairs:
        if y.ndim < layer.kernel_dims + 2:  # a single sample without a batch
            x, y = x[None], y[None]
        at = choose_positions(layer, y, positions, generator)
        yield read_patches(layer, x, at), written_outputs(layer, y, at)


def _without_bias(layer: Layer, found: Moments) -> Moments:
    """Convert moments to those of the output without its bias."""
    if layer.bias is None:
        return found
    problem, x, y = found.problem, found.inputs, found.outputs
    bias = layer.bias.detach().reshape(y.shape)
    target = problem.target - bias[..., None] * x[..., None, :]
    energy = problem.energy - 2 * bias * y + bias.square()
    return Moments(Quadratic(problem.gram, target, energy), x, y - bias)
