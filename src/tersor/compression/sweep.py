"""Ω_u(c) = ‖y − ŷ‖² / ‖y‖²: the damage to the outputs if part u alone is compressed to c.

arXiv 1912.09802 measures accuracy instead, which needs labels; `metric` can do the same. Without
data, the damage is the squared error of the weights, relative to their squares, summed over layers.

Where gradients pass through the network and there is no `metric`, the damage is estimated from them
(`tersor.compression.estimate`). Otherwise the rest of the network runs for every way of every part.
Parts are independent: joblib distributes them over processes, or over several machines with a
backend such as Ray's or Dask's (`joblib.parallel_config`).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import torch
from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend
from torch import Tensor, fx

from tersor.compression.between import thinned, with_left_out
from tersor.compression.chain_fit import Refit
from tersor.compression.changed_weights import (
    changed_layers,
    moments_at,
    weights_by_way,
    weights_lost,
)
from tersor.compression.estimate import estimates
from tersor.compression.parts import Part
from tersor.data.outputs.outputs import Metric, check_numbers
from tersor.data.runs.journal import Journal
from tersor.data.walk.gram import Moments
from tersor.data.walk.observe import Batch
from tersor.data.walk.one_at_a_time import Rest, Stop, outputs_of, stops
from tersor.data.walk.shelf import Shelf
from tersor.errors import InvalidInputError
from tersor.graph.carried import carried_nodes
from tersor.graph.layers import Layer
from tersor.graph.network import Applied, Network, Record
from tersor.graph.shapes import shapes

T = TypeVar("T")
OnPart = Callable[[int, int, Record], None]
_ROUND = 4  # tasks for each process
_SWEPT = Refit(steps=0, samples=12_000, relu=False)  # shows which parts and mixtures matter


@dataclass(frozen=True)
class Sweep:
    """How parts are tried.

    Attributes:
        batches: Unlabelled inputs, as `(args, kwargs)`; without any, damage is measured on the
            weights. The first half fits and the other half judges, since the error on the images
            that a part was fitted to is too optimistic.
        metric: Damage in one batch, `metric(outputs, reference)`, averaged over batches.
        refit: How a compressed part is fitted to the data.
        jobs: Number of processes; −1 uses all cores.
        journal: Saves the parts that are done.
        shelf: Keeps the values of the samples; by default one that has room for all.
        on_part: Called after each part with the number of parts that are done, the total number,
            and its record.
    """

    batches: Sequence[Batch]
    metric: Metric | None = None
    refit: Refit = _SWEPT
    jobs: int = 1
    journal: Journal | None = None
    shelf: Shelf | None = None
    on_part: OnPart | None = None

    def __post_init__(self) -> None:
        if self.jobs == 0:
            raise InvalidInputError("jobs=0; give the number of processes, or −1 for all cores")


def damages(network: Network, parts: Sequence[Part], sweep: Sweep) -> list[tuple[float, ...]]:
    """Measure the damage of every way of every part.

    Args:
        network: The network; it is not changed.
        parts: The parts.
        sweep: How they are tried.

    Raises:
        InvalidInputError: The outputs of the network hold NaN.
    """
    found: dict[int, tuple[float, ...]] = {}
    for number, part in enumerate(parts):
        known = sweep.journal.read(f"{number:05}") if sweep.journal else None
        if known is not None:
            found[number] = tuple(known[0]["damage"].tolist())
            _tell(sweep, len(found), len(parts), part, found[number])
    reference = outputs_of(network, halves(sweep.batches)[1], shelf=sweep.shelf)
    if sweep.metric is None:
        check_numbers(reference)
    given = sweep.batches, reference, sweep.metric, sweep.refit
    todo = [number for number in range(len(parts)) if number not in found]
    for number, values in _tried(network, parts, todo, given, sweep):
        found[number] = values
        if sweep.journal is not None:
            tensor = torch.tensor(values, dtype=torch.float64)
            record = _record(parts[number], values)
            sweep.journal.write(f"{number:05}", {"damage": tensor}, record)
        _tell(sweep, len(found), len(parts), parts[number], values)
    return [found[number] for number in range(len(parts))]


def _tried(
    network: Network, parts: Sequence[Part], todo: list[int], given: Any, sweep: Sweep
) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Iterate over the numbers of parts, in any order, and the damages of their ways."""
    batches, reference, metric, refit = given
    jobs, shelf = sweep.jobs, sweep.shelf
    edited = network.copy()
    if batches and metric is None and not any(carried_nodes(network)):
        some, (fitting, judging) = [thinned(parts[number]) for number in todo], halves(batches)
        found = estimates(edited, some, fitting, judging, reference, refit, shelf)
        todo, estimated = [], zip(todo, found, strict=True)
        for number, values in estimated:
            if any(values):
                yield number, tuple(with_left_out(parts[number], values))
            else:
                todo.append(number)
    if effective_n_jobs(jobs) > 1:
        room = None if shelf is None else shelf.room
        tasks = (delayed(_alone)(n, room, network, parts[n], *given) for n in todo)
        yield from _results(tasks, jobs)
        return
    apart = [number for number in todo if not batches or len(parts[number].changes) > 1]
    together = {number: parts[number] for number in todo if number not in apart}
    if together:
        yield from _in_one_walk(edited, together, *given, shelf=shelf)
    for number in apart:
        yield number, try_part(edited, parts[number], *given, shelf=shelf)


def _in_one_walk(
    network: Network,
    parts: Mapping[int, Part],
    batches: Sequence[Batch],
    reference: list[Any],
    metric: Metric | None,
    refit: Refit,
    shelf: Shelf | None,
) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Try parts that change one layer each, in the order of these layers, while the data pass once.

    A layer that reads a group and can become a chain is changed by two parts, on the same data.
    """
    changed = {number: changed_layers(network, part) for number, part in parts.items()}
    at: dict[fx.Node, list[int]] = {}
    for number, found in changed.items():
        (layer,) = found.values()
        layer.ensure_bias()
        at.setdefault(layer.node, []).append(number)
    for stop in _stops(network, batches, at, shelf):
        (layer,) = changed[at[stop.node][0]].values()
        moments = _moments(layer, stop, refit)
        for number in at[stop.node]:
            given = changed[number], parts[number], moments, stop.rest
            yield number, _damages(*given, reference, metric, refit)


def _results(tasks: Iterable[Any], jobs: int) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Iterate over the results of tasks as soon as the backend returns them.

    Ray's backend returns nothing before all tasks are done, so it gets a few tasks at a time.
    """
    backend: Any = get_active_backend()[0]
    if backend.supports_return_generator:
        run: Any = Parallel(n_jobs=jobs, return_as="generator_unordered")
        yield from run(tasks)
        return
    left, several, run = iter(tasks), _ROUND * effective_n_jobs(jobs), Parallel(n_jobs=jobs)
    while some := list(islice(left, several)):
        yield from run(some)


def _alone(
    number: int, room: int | None, network: Network, *rest: Any
) -> tuple[int, tuple[float, ...]]:
    """Try one part in another process or thread; tasks may end in any order."""
    network = network.copy()
    _note_shapes(network)
    return number, try_part(network, *rest, shelf=Shelf(room))


def _note_shapes(network: Network) -> None:
    """Restore the `meta["val"]` that pickling loses; only for computing: free sizes are numbers."""
    for node, shape in shapes(network).items():
        if isinstance(shape, torch.Size):
            node.meta.setdefault("val", torch.empty(shape, device="meta"))


def try_part(
    network: Network,
    part: Part,
    batches: Sequence[Batch],
    reference: list[Any],
    metric: Metric | None = None,
    refit: Refit = _SWEPT,
    shelf: Shelf | None = None,
) -> tuple[float, ...]:
    """Measure the damage of every way of one part.

    Args:
        network: The network; it is not changed, except that layers without a bias get zeros as
            bias.
        part: The part.
        batches: See `Sweep`.
        reference: The original outputs for the batches that judge.
        metric: See `Sweep`.
        refit: See `Sweep`.
        shelf: See `Sweep`.
    """
    changed = changed_layers(network, part)
    if not batches:
        weights_at = weights_by_way(changed, part, {}, _SWEPT)
        return tuple(weights_lost(changed, weights_at(way)) for way in part.ways)
    for layer in changed.values():
        layer.ensure_bias()
    todo = {layer.node: layer for layer in changed.values()}
    rests, moments = list[Rest](), dict[str, Moments]()
    for stop in _stops(network, batches, todo, shelf):
        rests = rests or [stop.rest]
        moments |= _moments(todo[stop.node], stop, refit)
    return _damages(changed, part, moments, rests[0], reference, metric, refit)


def _damages(
    changed: Mapping[str, Layer],
    part: Part,
    moments: Mapping[str, Moments],
    rest: Rest,
    reference: list[Any],
    metric: Metric | None,
    refit: Refit,
) -> tuple[float, ...]:
    """Measure the damage of every way of a part, with the network from its first layer on."""
    found, weights_at = [], weights_by_way(changed, part, moments, refit)
    for way in part.ways:
        weights = weights_at(way)
        before = {name: _swap(changed[name], *weights[name]) for name in weights}
        found.append(rest.damage(reference, metric))
        for name, (weight, bias) in before.items():
            _put(changed[name], weight, bias)
    return tuple(found)


def _stops(
    network: Network, batches: Sequence[Batch], nodes: Collection[fx.Node], shelf: Shelf | None
) -> Iterator[Stop]:
    """Walk to the nodes; the batches that judge go on from there."""
    return stops(network, batches, nodes, judged=slice(len(batches) // 2, None), shelf=shelf)


def _moments(layer: Layer, stop: Stop, refit: Refit) -> dict[str, Moments]:
    """The data of a layer that a chain or a weight can be fitted to, by its name."""
    (given, _), (written, _) = halves(stop.given), halves(stop.written)
    found = moments_at(layer, given, written, refit)
    return {} if found is None else {layer.name: found}


def halves(batches: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """Split batches into those that fit and those that judge; a single batch does both.

    Args:
        batches: The batches of a `Sweep`, or one value for each of them.
    """
    half = len(batches) // 2
    return batches[: half or None], batches[half:]


def _swap(layer: Layer, weight: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor]:
    """Replace weight and bias of a layer, and return the old ones."""
    assert layer.bias is not None
    before = layer.weight.detach().clone(), layer.bias.detach().clone()
    _put(layer, weight, before[1] if shift is None else before[1] + shift)
    return before


def _put(layer: Layer, weight: Tensor, bias: Tensor) -> None:
    layer.network.replace_tensor(layer.weight_node, weight)
    layer.set_bias(bias)


def _record(part: Part, values: tuple[float, ...]) -> Applied:
    numbers = {"least damage": min(values), "most damage": max(values)}
    return Applied(part.name, "sweep", f"{len(values)} ways tried", numbers)


def _tell(sweep: Sweep, done: int, total: int, part: Part, values: tuple[float, ...]) -> None:
    if sweep.on_part is not None:
        sweep.on_part(done, total, _record(part, values))
