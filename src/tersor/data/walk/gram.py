"""E[x̂ x̂ᵀ], E[y x̂ᵀ], E[y²], E[x̂], E[y]: all that a least-squares solver needs of a layer's data.

The means are taken over output positions that are sampled from every batch, in one pass.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.codes import Codes
from tersor.core.column_products import (
    FloatProducts,
    IntegerProducts,
    Products,
    has_bytes,
    multiplies_fast,
)
from tersor.core.quadratic import Quadratic
from tersor.data.walk.patches import choose_positions, read_patches, written_outputs
from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer


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
    pairs: Iterable[tuple[Tensor | Codes, Tensor]],
    positions: int,
    generator: torch.Generator,
) -> Moments:
    """Compute the moments in one pass over the data of one layer.

    Args:
        layer: A linear layer or a convolution that is not transposed.
        pairs: The input of the layer and its wanted output, bias included, for each batch. All
            inputs that are integers were rounded with one scale.
        positions: Number of output positions to draw from every sample of a batch.
        generator: The source of random numbers.

    Raises:
        InvalidInputError: The squares of values are beyond float32; names the layer.
    """
    products: Products | None = None
    samples, energy, mean_y = 0, torch.zeros(()), torch.zeros(())
    for x, y in _drawn(layer, pairs, positions, generator):
        products = products or _products(x, y)
        products.add(x.integers if isinstance(x, Codes) else x, y)
        samples += y.shape[-1]
        energy, mean_y = energy + y.square().sum(-1), mean_y + y.sum(-1)
    assert products is not None
    sums = *products.sums(), energy, mean_y
    gram, cross, mean_x, energy, mean_y = (total.div_(samples) for total in sums)
    for what, squares in (("reads", gram.diagonal(dim1=-2, dim2=-1)), ("writes", energy)):
        if not bool(squares.isfinite().all()):
            raise InvalidInputError(
                f"layer {layer.name!r} {what} values whose squares are beyond float32; give "
                "samples as the model expects them, or leave the layer as it is (exclude=, "
                "--exclude)"
            )
    return _without_bias(layer, Moments(Quadratic(gram, cross, energy), mean_x, mean_y))


def _products(x: Tensor | Codes, y: Tensor) -> Products:
    return IntegerProducts(x, y) if isinstance(x, Codes) else FloatProducts(x, y)


def _drawn(
    layer: Layer,
    pairs: Iterable[tuple[Tensor | Codes, Tensor]],
    positions: int,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor | Codes, Tensor]]:
    """As `sampled`; inputs that are integers stay such where these are multiplied faster."""
    inputs = layer.grouped_weight()[0, 0].numel()
    for x, y in pairs:
        if isinstance(x, Codes) and not has_bytes(x):
            x = x.value()
        values = x.integers if isinstance(x, Codes) else x
        if y.ndim < layer.kernel_dims + 2:  # a single sample without a batch
            values, y = values[None], y[None]
        at = choose_positions(layer, y, positions, generator)
        zero = int(x.zero_point) if isinstance(x, Codes) else 0
        found = read_patches(layer, values, at, zero)
        if isinstance(x, Codes):
            found = replace(x, integers=found)
            found = found if multiplies_fast(x, layer.groups, inputs) else found.value()
        yield found, written_outputs(layer, y, at)


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
    for found, outputs in _drawn(layer, pairs, positions, generator):
        assert isinstance(found, Tensor)
        yield found, outputs


def _without_bias(layer: Layer, found: Moments) -> Moments:
    """Convert moments to those of the output without its bias."""
    if layer.bias is None:
        return found
    problem, x, y = found.problem, found.inputs, found.outputs
    bias = layer.bias.detach().reshape(y.shape)
    target = problem.target - bias[..., None] * x[..., None, :]
    energy = problem.energy - 2 * bias * y + bias.square()
    return Moments(Quadratic(problem.gram, target, energy), x, y - bias)
