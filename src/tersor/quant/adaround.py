"""min_V ‖f_a(W x) − f_a(W̃ x̂)‖² + λ f_reg(V), layer by layer: AdaRound, the paper's solver.

    W̃ = s · clip(⌊W / s⌋ + h(V), n, p)         h and f_reg: `tersor.core.soft_rounding`

AdaRound, arXiv 2004.10568, eq. 25: for every weight, Adam decides whether it is rounded up or down,
such that the output of its layer changes least. x̂ comes from the previous layers, which are
already quantized, and f_a is the activation that follows. The scale s is that of the quantizer:
choose it first, such that ‖W − W̄‖² is smallest (§5, `tersor.quant.range_methods.MSE`).

A weight is rounded to the side that h(V) is closer to. The paper specifies neither λ, nor the decay
of β, nor the weighting of the terms. These are taken from the authors' own code, AIMET
(github.com/quic/aimet): the error is summed over channels and averaged over everything else, and
f_reg is summed over all weights.

Differs from the paper in: λ is larger for large outputs (`AdaRound.min_regularization`), since the
error grows with the square of the outputs and f_reg does not. In a last layer, which has the
largest errors, the authors' λ leaves most weights undecided. A layer for which nearest rounding is
better, on held-out samples if there are any, keeps nearest rounding.

`tersor.quant.fast_rounding` solves nearly the same problem many times faster.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tersor.checked import Count, Positive, PositiveOrZero, Share, checked
from tersor.core.soft_rounding import (
    beta_at,
    inverse_rectified_sigmoid,
    rectified_sigmoid,
    regularizer,
    soft_integers,
)
from tersor.data.walk.observe import Batch
from tersor.graph.activation import activation
from tersor.graph.network import Applied, Network, Record, Skipped
from tersor.quant.fast_rounding import Rounding, round_layer
from tersor.quant.rounding.layer_task import LayerTask
from tersor.quant.rounding.layerwise import Setting, round_layers

_FAST = "by the fast solver, since pairs of 8-bit weights must not overflow"


@checked()
@dataclass(frozen=True)
class AdaRound:
    """Options of the paper's solver.

    Attributes:
        iterations: Number of Adam steps for each layer (§5: 10,000).
        batch: Number of random samples in each step (§5: 32).
        learning_rate: Learning rate of Adam (§5: its default). Fewer iterations need a higher one.
        regularization: λ for layers with small errors (AIMET: 0.01).
        min_regularization: λ is at least this number times the error of nearest rounding, divided
            by the number of weights of the layer. With a third of the default, some weights stay
            undecided; 0 reproduces the authors' code.
        beta: First and last β (AIMET: 20 and 2).
        warm_start: Share of the iterations without the regularizer (AIMET: 20 %).
        seed: Seed of the random samples.
    """

    iterations: Count = 10_000
    batch: Count = 32
    learning_rate: Positive = 1e-3
    regularization: PositiveOrZero = 0.01
    min_regularization: PositiveOrZero = 10.0
    beta: tuple[Positive, Positive] = (20.0, 2.0)
    warm_start: Share = 0.2
    seed: int = 0

    def beta_at(self, step: int) -> float | None:
        """β at one step, None during the warm start."""
        return beta_at(step, self.iterations, self.warm_start, self.beta)

    def round(
        self,
        network: Network,
        batches: Sequence[Batch],
        setting: Setting = Setting(),  # noqa: B008
    ) -> None:
        """Round every quantized weight up or down.

        Layers in which pairs of 8-bit weights must not overflow are rounded by the fast solver, and
        their records say so.

        Args:
            network: As for `tersor.quant.rounding.layerwise.Solver`.
            batches: As for `tersor.quant.rounding.layerwise.Solver`.
            setting: As for `tersor.quant.rounding.layerwise.Solver`.
        """

        def round_one(task: LayerTask) -> Record:
            if setting.pair_safe and task.quantizer.grid.bits == 8:
                record = round_layer(task, Rounding(), setting.pair_safe)
                if isinstance(record, Skipped):
                    return replace(record, reason=f"{record.reason}; it was rounded {_FAST}")
                return replace(record, what=f"{record.what} {_FAST}")
            return adaround_layer(task, self)

        round_layers(network, batches, round_one, setting, self.seed)


def adaround_layer(task: LayerTask, options: AdaRound) -> Applied | Skipped:
    """Round one layer.

    Args:
        task: The layer.
        options: See `AdaRound`.
    """
    layer, problem = task.layer, Problem.of(task)
    h = learn_rounding(problem, task.used, options, task.seed)
    rounded = problem.weight((h >= 0.5).to(h.dtype))
    nearest = layer.ungrouped(task.nearest().reshape(layer.grouped_weight().shape))
    before, after = (problem.error(weight, task.judges) for weight in (nearest, rounded))
    if not after <= before:
        task.correct_mean()
        return Skipped(layer.name, "round", "no other rounding is better than the nearest")
    task.store(layer.grouped(rounded).flatten(2))
    undecided = float(((h > 0.01) & (h < 0.99)).to(h.dtype).mean())
    numbers = {"objective before": before, "objective after": after, "undecided": undecided}
    what = "weights rounded up or down for the least output error"
    return Applied(layer.name, "round", what, numbers)


@dataclass(frozen=True)
class Problem:
    """The rounding problem of one layer. Weights have the shape that the layer stores.

    Attributes:
        task: The layer.
        follow: f_a.
        step: s of every weight.
        low: ⌊W / s⌋.
        rest: W / s − ⌊W / s⌋.
    """

    task: LayerTask
    follow: Callable[[Tensor], Tensor] = field(repr=False)
    step: Tensor = field(repr=False)
    low: Tensor = field(repr=False)
    rest: Tensor = field(repr=False)

    @staticmethod
    def of(task: LayerTask) -> "Problem":
        """Set up the problem of a task."""
        layer = task.layer
        step = task.scale[..., None].expand_as(task.weights)
        step = layer.ungrouped(step.reshape(layer.grouped_weight().shape))
        ratio = layer.weight.detach() / step
        low = ratio.floor()
        return Problem(task, activation(layer.network, layer.node), step, low, ratio - low)

    def weight(self, up: Tensor) -> Tensor:
        """Compute W̃.

        Args:
            up: How far each weight is rounded up, from 0 to 1.
        """
        return self.step * soft_integers(self.low, up, self.task.quantizer.grid)

    def output(self, x: Tensor, weight: Tensor) -> Tensor:
        """Compute f_a(W̃ x̂)."""
        return self.follow(self.task.layer.run(x, weight))

    @torch.no_grad()
    def error(self, weight: Tensor, batches: slice) -> float:
        """Measure ‖f_a(W x) − f_a(W̃ x̂)‖², summed over channels, averaged over everything else.

        Args:
            weight: W̃.
            batches: The batches.
        """
        pairs = zip(self.task.given[batches], self.task.wanted[batches], strict=True)
        total, values = 0.0, 0
        for x, y in pairs:
            total += F.mse_loss(self.output(x, weight), self.follow(y), reduction="sum")
            values += y.numel()
        return float(total) * self.channels / values

    @property
    def channels(self) -> int:
        """The number of output channels."""
        return self.task.wanted[0].shape[self.task.layer.channel_axis]


@torch.enable_grad()
def learn_rounding(problem: Problem, batches: slice, options: AdaRound, seed: int) -> Tensor:
    """Optimize h(V): 1 for every weight that is rounded up, 0 for the others.

    A few weights stay undecided in between.

    Args:
        problem: The problem.
        batches: The batches to learn from.
        options: See `AdaRound`.
        seed: Seed of the random samples.
    """
    error = problem.error(problem.weight(problem.rest.round()), batches)
    least = options.min_regularization * error / problem.rest.numel()
    strength = max(options.regularization, least)
    v = inverse_rectified_sigmoid(problem.rest).requires_grad_()
    adam = torch.optim.Adam([v], options.learning_rate)
    for step, (x, wanted) in enumerate(_draw(problem, batches, options, seed)):
        h, beta = rectified_sigmoid(v), options.beta_at(step)
        loss = problem.channels * F.mse_loss(problem.output(x, problem.weight(h)), wanted)
        if beta is not None:
            loss = loss + strength * regularizer(h, beta)
        (v.grad,) = torch.autograd.grad(loss, [v])
        adam.step()
    return rectified_sigmoid(v.detach())


def _draw(
    problem: Problem, batches: slice, options: AdaRound, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw random samples x̂ and f_a(W x) for each step; those of one step have the same shape."""
    given, wanted = problem.task.given[batches], problem.task.wanted[batches]
    groups: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
    for x, y in zip(given, wanted, strict=True):
        groups.setdefault(x.shape[1:], []).append((x, problem.follow(y)))
    pools = [tuple(map(torch.cat, zip(*pairs, strict=True))) for pairs in groups.values()]
    groups.clear()
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor([float(len(x)) for x, _ in pools])
    turns = sizes.multinomial(options.iterations, replacement=True, generator=generator)
    shape = options.iterations, options.batch
    places = torch.rand(shape, generator=generator, dtype=torch.float64).to(pools[0][0].device)
    for turn, place in zip(turns.tolist(), places, strict=True):
        x, targets = pools[turn]
        index = (place * len(x)).long()
        yield x[index], targets[index]
