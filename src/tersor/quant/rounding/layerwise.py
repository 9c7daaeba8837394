"""Walks over the layers in the order of the graph, for every solver that rounds with data.

    x̂   the input of a layer once everything before it is quantized
    y   its output in the float network: the wanted output

AdaRound, arXiv 2004.10568, §3.3.2: with x̂ in place of x, a layer compensates the errors of the
layers before it ("asymmetric reconstruction"). The walk provides both for all samples, a solver
chooses the integers, and the next layer sees the result.

Differs from the paper in: some samples are held out, so that solvers can check their result on
them. If an output is added to a shortcut, the error of the shortcut is provided as well. A weight
that several calls read is rounded for all of them; see `tersor.quant.rounding.shared_calls`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from torch import fx

from tersor.data.runs.journal import Journal
from tersor.data.runs.memory import trim
from tersor.data.walk.observe import Batch
from tersor.data.walk.shelf import Shelf
from tersor.data.walk.shortcut import lacking
from tersor.data.walk.stream import Stream
from tersor.errors import InvalidInputError
from tersor.graph.lanes import Pairs
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network, OnLayer, Record, Skipped
from tersor.graph.nodes import operand
from tersor.quant.placement.float_layers import NEAREST
from tersor.quant.placement.place import weight_quantizer
from tersor.quant.placement.quantizer import FakeQuantize
from tersor.quant.range_methods import ActivationRange
from tersor.quant.rounding.layer_task import LayerTask, restore, state
from tersor.quant.rounding.live_streams import LiveStream
from tersor.quant.rounding.shared_calls import gather, with_all_calls
from tersor.quant.rounding.streamed_ranges import StreamedRanges
from tersor.quant.shared_copy import shared_copy


@dataclass(frozen=True)
class Setting:
    """The settings that all solvers share.

    Attributes:
        held_back: Number of batches, the last ones, that are held out to check the result. A layer
            for which nearest rounding is better on them keeps nearest rounding.
        pair_safe: The pairs of 8-bit weights that must not overflow 16 bits, as in the `Scheme`.
            The ranges must be such that nearest rounding does not overflow; see `weight_ranges`.
        on_layer: Called after each layer with its number, the total number, and its record.
        journal: Saves finished layers, which are then not solved again.
        shelf: Keeps the values of both networks; by default one that has room for all.
        ranges: How the ranges of activations are chosen on the way, where biases are made to fit,
            too; see `tersor.quant.rounding.streamed_ranges`. None if ranges are there.
    """

    held_back: int = 0
    pair_safe: Pairs | None = None
    on_layer: OnLayer | None = None
    journal: Journal | None = None
    shelf: Shelf | None = None
    ranges: ActivationRange | None = None


class Solver(Protocol):
    """Rounds the weights of a network: `Rounding`, `AdaRound`, `Blocks` or `Nearest`."""

    def round(self, network: Network, batches: Sequence[Batch], setting: Setting = ...) -> None:
        """Put every quantized weight on its grid, such that the outputs change least.

        Args:
            network: A network whose quantizers have their ranges, but for those that are set on the
                way; edited in place.
            batches: Unlabelled inputs, as `(args, kwargs)`.
            setting: The settings that all solvers share.

        Raises:
            InvalidInputError: There is no batch, or all batches are held out.
        """
        ...


RoundLayer = Callable[[LayerTask], Record]
OnNode = Callable[[fx.Node, Stream, Stream], None]


def round_layers(
    network: Network,
    batches: Sequence[Batch],
    round_layer: RoundLayer,
    setting: Setting = Setting(),
    seed: int = 0,
    on_node: OnNode | None = None,
) -> None:
    """Let a solver round the weights, layer by layer.

    Args:
        network: As for `Solver.round`.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        round_layer: Rounds one layer, and returns a record of it.
        setting: The settings that all solvers share.
        seed: Seed of the first layer; every layer has its own.
        on_node: Called after both streams, the float and the quantized one, have run a node.

    Raises:
        InvalidInputError: There is no batch, or all batches are held out.
    """
    _check_count(len(batches), setting.held_back)
    gather(network)
    shelf = setting.shelf or Shelf()
    floating = LiveStream(shared_copy(network), batches, shelf, simulate=False)
    quantized = LiveStream(network, batches, shelf, simulate=True)
    method = setting.ranges
    ranges = None if method is None else StreamedRanges(network, floating, batches, method)
    todo = {layer.node.name: layer for layer in layers(network)}
    twins = zip(floating.network.graph.nodes, list(network.graph.nodes), strict=True)
    done, rounded = 0, set[fx.Node]()
    for float_node, node in twins:
        if ranges is None:
            floating.run(float_node)
        else:
            ranges.run(float_node, node)
        if node.name in todo:
            trim()
            layer = todo[node.name]
            again = layer.weight_node in rounded
            record = _rounded(layer, again, (floating, quantized), round_layer, setting, seed, done)
            rounded.add(layer.weight_node)
            network.records.append(record)
            done += 1
            if setting.on_layer is not None:
                setting.on_layer(done, len(todo), record)
        quantized.run(node)
        if on_node is not None:
            on_node(node, floating, quantized)
    if ranges is not None:
        ranges.finish()
    network.finish()


def _check_count(batches: int, held_back: int) -> None:
    if batches <= held_back:
        raise InvalidInputError(
            f"there is no batch to round with: of {batches}, {held_back} are held out; give more "
            "samples"
        )


_NOT_QUANTIZED = "its weight is not quantized"
_ROUNDED = "its weight was rounded for another layer that reads it; its bias is corrected by itself"


def _rounded(
    layer: Layer,
    again: bool,
    streams: tuple[Stream, Stream],
    round_layer: RoundLayer,
    setting: Setting,
    seed: int,
    number: int,
) -> Record:
    """Round one layer, if it can be, with its values in both streams, which are not held longer."""
    quantizer, reason = weight_quantizer(layer), _refusal(layer)
    if quantizer is None or reason is not None:
        return Skipped(layer.name, "round", reason or _NOT_QUANTIZED)
    task = _task(layer, quantizer, *streams, setting.held_back, seed + number)
    whole = None if again else with_all_calls(task, *streams)
    return _solve(partial(_round, round_layer, whole), task, setting.journal, f"{number:05d}")


def _refusal(layer: Layer) -> str | None:
    quantizer = weight_quantizer(layer)
    if quantizer is None or not quantizer.enabled:
        return _NOT_QUANTIZED
    if quantizer.stored_only:
        return NEAREST
    return layer.computed


def _round(round_layer: RoundLayer, whole: LayerTask | None, task: LayerTask) -> Record:
    """Round a weight for all its calls, or correct only the bias if that has been done."""
    record = Skipped(task.layer.name, "round", _ROUNDED) if whole is None else round_layer(whole)
    if whole is not task:
        task.correct_mean()
    return record


def _solve(round_layer: RoundLayer, task: LayerTask, journal: Journal | None, key: str) -> Record:
    """Solve one layer, or read its result from the journal."""
    finished = journal.read(key) if journal else None
    if finished is not None:
        restore(task.layer, finished[0])
        return finished[1]
    record = round_layer(task)
    if journal is not None:
        journal.write(key, state(task.layer), record)
    return record


def _task(
    layer: Layer,
    quantizer: FakeQuantize,
    floating: Stream,
    quantized: Stream,
    held_back: int,
    seed: int,
) -> LayerTask:
    edge = operand(layer.node)
    wanted, missing = floating.values[layer.node.name], lacking(layer, floating, quantized)
    return LayerTask(layer, quantizer, quantized.of(edge), wanted, missing, held_back, seed)
