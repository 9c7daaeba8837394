"""Quantizers whose steps and offsets are trained with the weights: LSQ+.

    x̂ = clamp(round((x − β) / s), n, p) · s + β          see `tersor.core.learned_step`

LSQ+, arXiv 2004.09576. `learn` replaces every `FakeQuantize` by a `LearnedQuantize` for training.
`settle` restores the `FakeQuantize`, with the learned step and zero point. So what was trained is
what is exported, to the bit. The configuration of each activation follows from the op that computes
it (`tersor.quant.configuration`); weights are symmetric and signed (§3.1).

Steps start from those of the network, or from (§3.3):

    weights       s = max(|μ − 3σ|, |μ + 3σ|) / 2^(b−1)
    activations   argmin ‖x̂ − x‖² over a few batches
    both, in LSQ  s = 2 · mean|v| / √p                   arXiv 1902.08153, §2.1

Differs from the paper in: the logarithm of s is trained, and β in units of the initial s, so that
s stays positive and one learning rate suits every layer. β is restricted to whole steps if it
cannot be moved into a bias (`tersor.quant.ranges.offsets`). The least squared error is found by
search, not by gradient descent. Biases stay in floating point.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from tersor.checked import Count, checked
from tersor.core.grid import Grid
from tersor.core.learned_step import fake_quantize_learned, gradient_scale, zero_point
from tersor.core.ranges import SMALLEST_SCALE, scale_zero_point
from tersor.core.starts import mean_range, sigma_range
from tersor.data.walk.observe import Batch
from tersor.graph.lanes import Pairs
from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Network
from tersor.graph.nodes import source
from tersor.quant.configuration import Configuration, configured
from tersor.quant.placement.place import quantizers
from tersor.quant.placement.quantizer import FakeQuantize, adds_pairs
from tersor.quant.range_methods import (
    MSE,
    ActivationRange,
    MeanRange,
    MinMax,
    Range,
    RangeMethod,
)
from tersor.quant.ranges.calibrate import activation_quantizers
from tersor.quant.ranges.observed import seen_ranges
from tersor.quant.ranges.offsets import (
    goes_into_biases,
    move_into_biases,
    pad_again,
    pad_before_rounding,
)

_FINE = 8  # bits from which on a whole step is small
_WEIGHTS: dict[str, RangeMethod] = {"sigma": sigma_range, "minmax": MinMax(), "mean": mean_range}
_ACTIVATIONS: dict[str, ActivationRange] = {"mse": MSE(), "minmax": MinMax(), "mean": MeanRange()}


@checked()
@dataclass(frozen=True)
class LSQ:
    """Options for training quantizers.

    Attributes:
        configuration: The configuration of every activation, 1 to 4, or `"auto"`: 1 after a ReLU
            and the like, where nothing is negative, and otherwise 4. With 1, LSQ without an offset,
            signed values get 2.
        weights: How the steps of weights are initialized: `"keep"` keeps those of the network,
            `"sigma"` (the paper's), `"minmax"`, or `"mean"` (LSQ's).
        activations: How the steps and offsets of activations are initialized: `"mse"` (the
            paper's), `"minmax"`, `"mean"` or `"keep"`.
        whole: Whether offsets are whole steps everywhere. Otherwise only offsets with 8 bits or
            more are, and those that cannot be moved into biases: see `tersor.quant.ranges.offsets`.
        samples: Largest number of samples on which activations are measured.
        start: Whether weights of few bits start from the nearest integers, or from those of the
            solver that rounded them (`"keep"`).
    """

    configuration: Configuration | Literal["auto"] = "auto"
    weights: Literal["keep", "sigma", "minmax", "mean"] = "keep"
    activations: Literal["keep", "mse", "minmax", "mean"] = "mse"
    whole: bool = False
    samples: Count = 256
    start: Literal["nearest", "keep"] = "nearest"


class LearnedQuantize(nn.Module):
    """A quantizer with a trainable step and offset, which replaces a `FakeQuantize`.

    Attributes:
        grid: The integers n … p.
        axis: The channel axis, or None.
        whole: Whether the offset is restricted to whole steps.
        is_batched: Whether the first axis of the values counts samples.
        stretch: log(s / unit), `[1]` or `[channels]`.
        shift: β / unit, or None if β is 0.
        unit: The initial s.
    """

    unit: Tensor
    shift: nn.Parameter | None

    def __init__(self, replaced: FakeQuantize, grid: Grid, is_batched: bool, whole: bool) -> None:
        """Start with the step and the zero point of a `FakeQuantize`, which is switched off.

        Args:
            replaced: The quantizer.
            grid: The grid to train on, as wide as its own grid or narrower.
            is_batched: See the attributes.
            whole: See the attributes.
        """
        super().__init__()
        self.grid, self.axis = grid, replaced.axis
        self.is_batched, self.whole = is_batched, whole
        self._replaced = (replaced,)  # in a tuple, so that it is no sub-module
        own = replaced.grid
        low, high = ((end - replaced.zero_point) * replaced.scale for end in (own.qmin, own.qmax))
        replaced.enabled = False
        self.register_buffer("unit", torch.ones_like(low))
        self.stretch = nn.Parameter(torch.empty(0))
        self.set_range(low, high)

    def set_range(self, low: Float[Tensor, "*channels"], high: Float[Tensor, "*channels"]) -> None:
        """Start again, with a grid that spans `[low, high]`.

        Args:
            low: Smallest value, 0-d or `[channels]`.
            high: Largest value, same shape.
        """
        low, high = low.detach().reshape(-1), high.detach().reshape(-1)
        self.unit = scale_zero_point(low, high, self.grid)[0]
        self.stretch = nn.Parameter(torch.zeros_like(self.unit))
        offset = low.clamp(max=0) / self.unit - self.grid.qmin
        self.shift = None if self.grid.symmetric else nn.Parameter(offset)

    @property
    def scale(self) -> Float[Tensor, "*channels"]:
        """s, in the shape that `FakeQuantize` uses."""
        return self._steps() if self.axis is not None else self._steps().reshape(())

    @property
    def offset(self) -> Float[Tensor, " channels"] | None:
        """β; None for 0."""
        return None if self.shift is None else self.unit * self.shift

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """x̂, with the gradients of LSQ+."""
        values = x.numel() // (len(x) if self.is_batched else self.unit.numel())
        g = gradient_scale(values, self.grid)
        return fake_quantize_learned(
            x, self._steps(), self.offset, self.grid, self.axis, g, self.whole
        )

    def _steps(self) -> Float[Tensor, " channels"]:
        return (self.unit * self.stretch.exp()).clamp(min=SMALLEST_SCALE)

    @torch.no_grad()
    def rest(self) -> float:
        """r: the part of the offset beyond whole steps."""
        if self.offset is None or self.whole:
            return 0.0
        steps = self._steps()
        return float(self.offset + zero_point(self.offset, steps, self.grid) * steps)

    @torch.no_grad()
    def settled(self) -> FakeQuantize:
        """The `FakeQuantize` that computes the same, except for the `rest` of the offset."""
        fake, scale = self._replaced[0], self.scale
        zero = torch.zeros_like(scale)
        if self.offset is not None:
            zero = zero_point(self.offset, self._steps(), self.grid).reshape(scale.shape)
        if fake.grid.signed != self.grid.signed:  # the same values, counted from another integer
            zero = zero + (fake.grid.qmin - self.grid.qmin)
        fake.set_scale(scale.clone(), zero)
        return fake

    def extra_repr(self) -> str:
        """Shown in `print(module)`."""
        return f"{self.grid}, axis={self.axis}, whole={self.whole}"


def learn(
    network: Network,
    batches: Sequence[Batch],
    options: LSQ = LSQ(),
    pair_safe: Pairs | None = None,
) -> None:
    """Make every quantizer trainable that is switched on.

    Args:
        network: Edited in place. Its biases, rounded by `BiasQuantize` before, become float.
        batches: Unlabelled inputs, on which activations are measured.
        options: See `LSQ`.
        pair_safe: See `Scheme`. 8-bit weights whose pairs could saturate are trained within seven
            bits, where none can.
    """
    edges = [(node, quantizer) for node, quantizer in quantizers(network) if quantizer.enabled]
    of_weights = {q: node for node, q in edges if source(node).op == "get_attr"}
    calls: dict[FakeQuantize, list[fx.Node]] = defaultdict(list)
    for node, quantizer in edges:
        calls[quantizer].append(node)
    seen = [(value, q) for value, q in activation_quantizers(network) if q.enabled]
    wanted = [(value, configured(value, q.grid, options.configuration)) for value, q in seen]
    ranges: list[Range] = []
    if options.activations != "keep":
        ranges = seen_ranges(network, batches, wanted, _ACTIVATIONS[options.activations])
    for (_, quantizer), (_, grid), ends in zip_longest(seen, wanted, ranges):
        whole = (
            options.whole or grid.bits >= _FINE or not goes_into_biases(network, calls[quantizer])
        )
        learned = LearnedQuantize(quantizer, grid, True, whole)
        if ends is not None:
            learned.set_range(*ends)
        if not (whole or grid.symmetric):
            pad_before_rounding(network, calls[quantizer][0])
        _exchange(network, quantizer, learned)
    for quantizer, node in of_weights.items():
        _exchange(network, quantizer, _of_weight(network, node, quantizer, options, pair_safe))
    network.module.recompile()


def settle(network: Network) -> None:
    """Restore the `FakeQuantize` of every `LearnedQuantize`, with what was learned.

    Args:
        network: Edited in place.
    """
    rests: dict[fx.Node, float] = {}
    for node in network.nodes():
        if node.op != "call_module":
            continue
        learned = network.module.get_submodule(str(node.target))
        if not isinstance(learned, LearnedQuantize):
            continue
        fake, rests[node] = learned.settled(), learned.rest()
        if source(node).op == "get_attr" and learned.grid != fake.grid:
            weight, scale = network.tensor(source(node)).detach(), fake.scale
            if fake.axis is not None:
                scale = scale.view([-1 if i == fake.axis else 1 for i in range(weight.ndim)])
            grid = learned.grid
            clipped = weight.maximum(scale * grid.qmin).minimum(scale * grid.qmax)
            network.replace_tensor(source(node), clipped)
        network.module.set_submodule(str(node.target), fake)
    for node, rest in rests.items():
        pad_again(network, node)
        if rest:
            move_into_biases(network, node, rest)
    network.module.recompile()


def learned_quantizers(module: nn.Module) -> list[tuple[str, LearnedQuantize]]:
    """Every trainable quantizer, once, by name."""
    return [(n, m) for n, m in module.named_modules() if isinstance(m, LearnedQuantize)]


def _of_weight(
    network: Network, node: fx.Node, quantizer: FakeQuantize, options: LSQ, pairs: Pairs | None
) -> LearnedQuantize:
    weight, grid = network.tensor(source(node)).detach(), quantizer.grid
    readers = [Layer(user, network) for user in node.users if is_layer(user)]
    method = _WEIGHTS.get(options.weights)
    if pairs and any(adds_pairs(layer, quantizer) for layer in readers):
        grid = replace(grid, bits=7)
        method = method or MinMax()
    learned = LearnedQuantize(quantizer, grid, False, True)
    if method is not None:
        learned.set_range(*method(weight, grid, quantizer.axis))
    return learned


def _exchange(network: Network, quantizer: FakeQuantize, learned: LearnedQuantize) -> None:
    for name, module in list(network.module.named_modules()):
        if module is quantizer:
            network.module.set_submodule(name, learned)
