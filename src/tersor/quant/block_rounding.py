"""min ‖f(x; W) − f̂(x̂; Ŵ)‖² over all weights of a block f at once: rounding for 2 and 3 bits.

BRECQ, arXiv 2102.05426: the errors of the layers of one residual branch depend on each other, so
the layers are reconstructed together, including addition and activation; the blocks follow in the
order of the graph. QDrop, arXiv 2203.05740: while weights are learned, random quantized activations
are replaced by their float values, so that the result does not depend on the rounding errors of the
calibration set.

Differs from the papers in: the fast solver (`tersor.quant.fast_rounding`) runs first, and
every weight decides between its integer and a neighbour of it, not between those next to the float
weight. Weight scales and biases are learned along with the weights, scales of activations are not.
There are few iterations with a high learning rate. The loss contains no Fisher information. Blocks
are found in the graph. A block that does not improve, on held-out samples if there are any, is left
unchanged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx
from torch.optim import Adam

from tersor.checked import Count, Positive, PositiveOrZero, Share, checked
from tersor.core.soft_rounding import beta_at
from tersor.core.straight_through import fake_quantize_through
from tersor.data.runs.journal import Journal
from tersor.data.walk.observe import Batch
from tersor.data.walk.per_batch import Computed
from tersor.data.walk.stream import Stream
from tersor.graph.blocks import Block, blocks, is_float
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Applied, Network, Record, Skipped
from tersor.quant.fast_rounding import Rounding, round_layer
from tersor.quant.placement.quantizer import FakeQuantize
from tersor.quant.rounding.block_task import BlockTask, mix, simulate
from tersor.quant.rounding.layer_task import restore, state
from tersor.quant.rounding.layerwise import Setting, round_layers
from tersor.quant.rounding.learnable import Body, LearnableLayer, Values, is_learnable
from tersor.quant.rounding.shared_calls import gather


@checked()
@dataclass(frozen=True)
class Blocks:
    """Options of block reconstruction.

    Attributes:
        iterations: Steps per block; each uses one batch.
        weight_rate: Learning rate of V, by which a weight moves between two integers.
        scale_rate: Learning rate of the logarithms of the weight scales.
        bias_rate: Learning rate of the biases, in standard deviations of the layer's output.
        regularization: λ, where f_reg is a mean over the weights of a block, and the error is a
            share of the variance of its output.
        beta: First and last β.
        warm_start: Share of the iterations without the regularizer.
        drop: Probability that a quantized activation is replaced by its float value (QDrop: 0.5).
            With 0, steps take two thirds of the time, but more samples are needed.
        largest: Largest number of layers in a block; blocks that are larger are skipped.
        seed: Seed of the order of the batches, and of the dropped activations.
        start: Options of the fast solver, which runs first.
    """

    iterations: Count = 1000
    weight_rate: Positive = 0.2
    scale_rate: PositiveOrZero = 1e-3
    bias_rate: PositiveOrZero = 5e-3
    regularization: PositiveOrZero = 100.0
    beta: tuple[Positive, Positive] = (20.0, 2.0)
    warm_start: Share = 0.05
    drop: Share = 0.5
    largest: Count = 32
    seed: int = 0
    start: Rounding = field(default_factory=Rounding)

    def beta_at(self, step: int) -> float | None:
        """β at one step, None during the warm start."""
        return beta_at(step, self.iterations, self.warm_start, self.beta)

    def round(
        self,
        network: Network,
        batches: Sequence[Batch],
        setting: Setting = Setting(),  # noqa: B008
    ) -> None:
        """Round layer by layer, and improve each block once its layers are rounded.

        Args:
            network: As for `tersor.quant.rounding.layerwise.Solver`.
            batches: As for `tersor.quant.rounding.layerwise.Solver`; best about 32 samples each.
            setting: As for `tersor.quant.rounding.layerwise.Solver`. A block that does not improve
                on the held-out batches is left unchanged. The journal saves finished blocks, too.
        """
        start = partial(round_layer, options=self.start, pair_safe=setting.pair_safe)
        gather(network)
        walk = _Walk(network, self, setting)
        round_layers(network, batches, start, setting, self.start.seed, walk)


class _Walk:
    """Follows the walk over layers until a block is complete."""

    def __init__(self, network: Network, options: Blocks, setting: Setting) -> None:
        self.network, self.options = network, options
        self.held_back, self.journal = setting.held_back, setting.journal
        found = list(blocks(network))
        self.ends = {block.nodes[-1]: block for block in found}
        self.last = {entry: block.nodes[-1] for block in found for entry in block.entries}
        self.given: Values = {}
        self.ideal: Values = {}
        self.done = 0

    def __call__(self, node: fx.Node, floating: Stream, quantized: Stream) -> None:
        if node in self.last:
            self.given[node] = list(quantized.values[node.name])
            self.ideal[node] = list(floating.values[node.name])
        if node in self.ends:
            task = self._task(self.ends[node], floating)
            self.network.records.append(self._improve(task))
            given = task.given.items()
            quantized.values |= {x.name: Computed(_unchanged, found) for x, found in given}
            for inner in task.block.nodes:
                quantized.run(inner)
            self.done += 1
            for entry in task.given:
                if self.last[entry] is node:
                    del self.given[entry], self.ideal[entry]

    def _improve(self, task: BlockTask) -> Record:
        """Reconstruct a block, or read its result from an interrupted run."""
        key = f"block{self.done:05d}"
        record = _finished(task, self.journal, key)
        if record is None:
            record = _reconstruct(task, self.options, self.done)
            if self.journal is not None:
                self.journal.write(key, _state(task.block), record)
        return record

    def _task(self, block: Block, floating: Stream) -> BlockTask:
        weights = {layer.node.name: layer.weight.detach() for layer in layers(floating.network)}
        given, ideal = (
            {e: values[e] for e in block.entries} for values in (self.given, self.ideal)
        )
        wanted = {last: list(floating.values[last.name]) for last in block.exits if is_float(last)}
        return BlockTask(block, weights, given, ideal, wanted, self.held_back)


def _unchanged(value: Any) -> Any:
    return value


def _state(block: Block) -> dict[str, Tensor]:
    """Everything that rounding may have changed in a block."""
    states = (state(layer) for layer in block.layers)
    return {f"{i}.{name}": x for i, found in enumerate(states) for name, x in found.items()}


def _finished(task: BlockTask, journal: Journal | None, key: str) -> Record | None:
    """Restore a block from an interrupted run, if it was finished."""
    found = journal.read(key) if journal else None
    if found is None:
        return None
    for i, layer in enumerate(task.block.layers):
        own = {k.split(".")[1]: x for k, x in found[0].items() if k.split(".")[0] == str(i)}
        restore(layer, own)
    return found[1]


def _reconstruct(task: BlockTask, options: Blocks, number: int) -> Applied | Skipped:
    block = task.block
    chosen = [layer for layer in block.layers if is_learnable(layer)]
    reason = _refusal(task, chosen, options)
    if reason is not None:
        return Skipped(block.name, "reconstruct", reason)
    learned = [LearnableLayer(layer, task.weights[layer.node.name]) for layer in chosen]
    before = task.error()
    _learn(task, learned, options, torch.Generator().manual_seed(options.seed + number))
    for layer in learned:
        layer.store()
    after = task.error()
    if not after <= before:
        for layer in learned:
            layer.restore()
        return Skipped(block.name, "reconstruct", "no better than layer by layer")
    numbers = {"error before": before, "error after": after}
    return Applied(block.name, "reconstruct", "weights rounded together", numbers)


def _refusal(task: BlockTask, chosen: list[Layer], options: Blocks) -> str | None:
    count = len(task.block.layers)
    if not chosen:
        return "none of its weights is quantized to fewer than 8 bits and read by one layer only"
    if count > options.largest:
        return (
            f"its {count} layers cannot be cut apart: no single tensor leads on from any of them; "
            f"raise `largest` beyond {options.largest} if time and memory allow"
        )
    return None if task.wanted else "its results are not floating-point numbers"


@torch.enable_grad()
def _learn(
    task: BlockTask, learned: list[LearnableLayer], options: Blocks, generator: torch.Generator
) -> None:
    body = Body(task.block, task.block.layers[0].network)
    with torch.no_grad():
        values = body(task.at(task.given, 0), simulate)
    for layer in learned:
        layer.unit = float(values[layer.layer.node].std())
    rates = (options.weight_rate, options.scale_rate, options.bias_rate)
    groups = zip(zip(*(layer.parameters() for layer in learned), strict=True), rates, strict=True)
    optimizer = Adam([{"params": params, "lr": rate} for params, rate in groups])
    quantize = partial(_quantize, drop=options.drop, generator=generator)
    count = sum(layer.gate.numel() for layer in learned)
    for step, batch in enumerate(_order(task.used, options.iterations, generator)):
        given = task.mixed(batch, options.drop, generator)
        for layer in learned:
            given |= layer.replaced()
        loss = task.loss(body(given, quantize), batch)
        if (beta := options.beta_at(step)) is not None:
            undecided = torch.stack([layer.undecided(beta) for layer in learned]).sum()
            loss = loss + options.regularization * undecided / count
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _order(batches: int, steps: int, generator: torch.Generator) -> Iterator[int]:
    """Iterate over all batches in random order, without end."""
    order: list[int] = []
    for _ in range(steps):
        order = order or torch.randperm(batches, generator=generator).tolist()
        yield order.pop()


def _quantize(
    quantizer: FakeQuantize, x: Tensor, drop: float, generator: torch.Generator
) -> Tensor:
    """Apply a quantizer such that gradients pass through, and leave some values unrounded."""
    if not quantizer.enabled:
        return x
    rounded = fake_quantize_through(x, quantizer.scale, quantizer.zero_point, quantizer.grid)
    return mix(rounded, x, drop, generator)
