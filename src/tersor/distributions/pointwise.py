"""Elementwise expressions as one function of the value that they start from.

`x · sigmoid(x)`, `relu6(x + 3) / 6 · x` or `minimum(relu(x), bound)` are several nodes but one
function of `x`. Treated as such, their moments follow exactly from those of `x`. Node by node, they
would need the moments of products of dependent values.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.core.gaussian import clipped_gaussian, interval, pushforward
from tersor.distributions.distribution import Distribution, bounded
from tersor.graph.nodes import call
from tersor.graph.ops import clip_bounds

aten = torch.ops.aten
Function = Callable[[Float[Tensor, "points channels"]], Float[Tensor, "points channels"]]
Number = float | int
Bound = Number | Float[Tensor, "..."]  # 0-d or per channel


@dataclass(frozen=True)
class Pointwise:
    """A function of one root value, channel by channel.

    Attributes:
        root: The node that the expression starts from.
        function: Takes `[points, channels]` values of the root.
        clip: `(low, high)` if the function is just a clip, else None.
        kinks: Points of the root at which the function may bend.
    """

    root: fx.Node
    function: Function
    clip: tuple[Bound, Bound] | None = None
    kinks: tuple[Bound, ...] = ()

    @staticmethod
    def identity(root: fx.Node) -> "Pointwise":
        """The root itself."""
        return Pointwise(root, lambda z: z, (-float("inf"), float("inf")))

    def then(self, node: fx.Node) -> "Pointwise":
        """This function, followed by the unary op of `node`."""
        inner, rest = self.function, node.args[1:]
        bounds = clip_bounds(node)
        clip = None if bounds is None else self._clipped(*bounds)
        kinks = self.kinks + tuple(b for b in bounds or () if abs(b) != float("inf"))
        return Pointwise(
            self.root, lambda z: call(node, (inner(z), *rest), node.kwargs), clip, kinks
        )

    def combine(self, node: fx.Node, *operands: "Pointwise | Tensor | Number") -> "Pointwise":
        """The binary op of `node` on functions of this root, constants per channel and numbers."""
        constants = tuple(x for x in operands if isinstance(x, Tensor))
        kinks = tuple(k for x in operands if isinstance(x, Pointwise) for k in x.kinks)

        def function(z: Tensor) -> Tensor:
            return call(node, [_evaluate(x, z) for x in operands], node.kwargs)

        clip = None
        if node.target is aten.minimum.default and len(constants) == 1:
            clip = self._clipped(-float("inf"), constants[0])
        return Pointwise(self.root, function, clip, kinks + constants)

    def _clipped(self, low: Bound, high: Bound) -> tuple[Bound, Bound] | None:
        """The bounds of this clip when another one follows."""
        if self.clip is None:
            return None
        ends = (torch.as_tensor(end, dtype=torch.float64) for end in self.clip)
        before, after = (_clamp(end, low, high) for end in ends)
        return before, after

    def of(self, x: Distribution) -> Distribution:
        """The distribution of the function's value, if the root is nearly Gaussian."""
        if self.clip is not None:
            mean, var = clipped_gaussian(x.mean, x.std, *self.clip)
            low, high = (_clamp(end, *self.clip) for end in (x.low, x.high))
            inside = (low == x.low) & (high == x.high)  # never clipped, Gaussian or not
            mean, var = torch.where(inside, x.mean, mean), torch.where(inside, x.var, var)
        else:
            mean, var = pushforward(self.function, x.mean, x.std, kinks=self.kinks)
            low, high = interval(self.function, x.low, x.high, kinks=self.kinks)
        return bounded(mean, var, low, high, x.axis)


def _evaluate(x: Pointwise | Tensor | Number, z: Tensor) -> Tensor | Number:
    if isinstance(x, Pointwise):
        return x.function(z)
    return x.to(z) if isinstance(x, Tensor) else x


def _clamp(x: Tensor, low: Bound, high: Bound) -> Tensor:
    lowest, highest = (torch.as_tensor(end, dtype=x.dtype, device=x.device) for end in (low, high))
    return torch.minimum(torch.maximum(x, lowest), highest)
