"""Ω_l(b) = ‖y − ŷ‖² / ‖y‖²: the damage to the network's outputs if layer l alone has b bits.

Nothing else is quantized, y is what the float network returns, and no labels are needed. Noise from
many independent sources adds up, so Σ_l Ω_l(b_l) predicts how well widths go together before they
are tried together. A search over widths minimizes it (`tersor.core.knapsack`).

The float network runs once. Each layer is rounded by the fast solver, with one measurement for all
widths. From there on, the rest of the network runs on samples that the solver has not seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import Any

import torch
from torch import fx

from tersor.data.outputs.outputs import Metric
from tersor.data.walk.gram import Moments
from tersor.data.walk.observe import Batch
from tersor.data.walk.one_at_a_time import Rest, outputs_of, stops
from tersor.data.walk.shelf import Shelf
from tersor.errors import InvalidInputError
from tersor.graph.lanes import Pairs
from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Applied, Network, OnLayer
from tersor.graph.nodes import argument
from tersor.quant.fast_rounding import Rounding, both_moments, round_measured
from tersor.quant.noise.noise_by_parts import noise_by_parts
from tersor.quant.noise.noise_shares import float_parts
from tersor.quant.placement.place import weight_quantizer
from tersor.quant.placement.quantizer import FakeQuantize
from tersor.quant.range_methods import RangeMethod
from tersor.quant.ranges.calibrate import weight_range
from tersor.quant.rounding.layer_task import LayerTask, restore, state


@dataclass(frozen=True)
class Sensitivity:
    """The effect of one layer's width.

    Attributes:
        layer: Name of the layer.
        weights: Number of its weights.
        damage: Bits → damage to the outputs.
    """

    layer: str
    weights: int
    damage: dict[int, float]


@dataclass(frozen=True)
class WidthTrial:
    """Options for trying layers.

    Attributes:
        choices: The widths.
        rounding: Options of the fast solver.
        weight_range: How weight ranges are chosen; see
            `tersor.quant.ranges.calibrate.weight_ranges`.
        pair_safe: See `tersor.quant.ranges.calibrate.weight_ranges`.
        metric: Damage to what the network returns for a batch, given what the float network
            returns: `metric(outputs, reference)`, higher is worse; its mean over the batches
            counts. Default: ‖y − ŷ‖² / ‖y‖² over all batches, averaged over the parts of the
            outputs.
    """

    choices: tuple[int, ...]
    rounding: Rounding = Rounding()  # noqa: RUF009
    weight_range: RangeMethod | None = None
    pair_safe: Pairs | None = None
    metric: Metric | None = None


def sensitivities(
    network: Network,
    batches: Sequence[Batch],
    trial: WidthTrial,
    held_back: int = 0,
    on_layer: OnLayer | None = None,
    shelf: Shelf | None = None,
) -> list[Sensitivity]:
    """Try every width for every layer whose weight has a quantizer.

    Args:
        network: A float network with placed quantizers. It is changed, so copy it first.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        trial: How layers are tried.
        held_back: Number of batches, the last ones, that are held out to measure the damage; the
            others are used for rounding. With 0, all are used for both.
        on_layer: Called after each layer with its number, the total number, and its record.
        shelf: Keeps the values of all samples; by default one that has room for all.

    Raises:
        InvalidInputError: The metric is NaN, or there is none and the network returns nothing in
            floating point.
    """
    judged = slice(-held_back if held_back else None, None)
    todo = _first_readers(network)
    reference = outputs_of(network, batches[judged], shelf=shelf)
    found: list[Sensitivity] = []
    for stop in stops(network, batches, todo, judged=judged, shelf=shelf):
        layer, quantizer = todo[stop.node]
        seed = trial.rounding.seed + len(found)
        task = LayerTask(layer, quantizer, stop.given, stop.written, None, held_back, seed)
        damage = _tried(task, trial, stop.rest, reference)
        found.append(Sensitivity(layer.name, layer.weight.numel(), damage))
        if on_layer is not None:
            numbers = {f"{bits} bits": value for bits, value in damage.items()}
            record = Applied(layer.name, "sensitivity", "damage measured at each width", numbers)
            on_layer(len(found), len(todo), record)
    return found


def _first_readers(network: Network) -> dict[fx.Node, tuple[Layer, FakeQuantize]]:
    """The layers that a weight is rounded for: of several that share one, the first.

    Weights that are integers in the file alone have 8 bits, in any case.
    """
    found: dict[FakeQuantize, Layer] = {}
    for node in network.graph.nodes:
        if is_layer(node):
            layer = Layer(node, network)
            quantizer = weight_quantizer(layer)
            if quantizer is not None and not quantizer.stored_only:
                found.setdefault(quantizer, layer)
    return {layer.node: (layer, quantizer) for quantizer, layer in found.items()}


def _tried(
    task: LayerTask, trial: WidthTrial, rest: Rest, reference: list[Any]
) -> dict[int, float]:
    """The damage at every width; the layer is left as it was."""
    layer, damage = task.layer, {}
    layer.ensure_bias()  # the fast solver would add one
    before = state(layer)
    measured = None if layer.is_transposed else both_moments(task, trial.rounding)
    for bits in trial.choices:
        task.quantizer.grid = replace(task.quantizer.grid, bits=bits)
        _round(task, measured, trial)
        damage[bits] = _damage(rest, reference, trial.metric)
        if isnan(damage[bits]):
            raise InvalidInputError(
                f"the metric is NaN with {bits}-bit weights in {layer.name!r}; return infinity for "
                "what must not be chosen"
            )
        restore(layer, before)
    return damage


def _damage(rest: Rest, reference: list[Any], metric: Metric | None) -> float:
    parts = float_parts(reference[0]) if metric is None and reference else []
    if not parts:
        return rest.damage(reference, metric)
    return noise_by_parts(rest.outputs(), reference, parts)


def _round(task: LayerTask, measured: tuple[Moments, Moments] | None, trial: WidthTrial) -> None:
    """Round a layer with the fast solver, or to nearest if the solver cannot."""
    layer, quantizer = task.layer, task.quantizer
    edge = argument(layer.node, "weight")
    weight_range(layer.network, edge, quantizer, trial.pair_safe, trial.weight_range)
    if measured is not None:
        round_measured(task, *measured, trial.rounding, trial.pair_safe)
    with torch.no_grad():
        layer.network.replace_tensor(layer.weight_node, quantizer(layer.weight))
