"""Ω_u(c) ≈ Σ_n E_v (Σ_l ⟨ΔW_l, G_nl(v)⟩)² / ‖y‖²: the damage of every way from one backward pass.

    G_nl(v) = Σ_p g_p x_pᵀ,   g = vᵀ J

is the gradient of the outputs, times random signs v, with respect to the weight of layer l, of
sample n alone; x_p is the patch that the layer reads at position p. A way changes the weights by
ΔW and the biases by Δb, so that the sum is vᵀ J δ for the error δ that it makes: to first order,
its mean square is the squared error of the outputs (`tersor.data.walk.output_gradients`).

This takes the place of running the rest of the network for every way of every part.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.compression.chain_fit import Refit
from tersor.compression.changed_weights import moments_at, weight_by_way
from tersor.compression.parts import Part
from tersor.data.outputs.outputs import floats
from tersor.data.walk.observe import Batch, samples_of
from tersor.data.walk.output_gradients import output_pulls
from tersor.data.walk.patches import read_patches, written_outputs
from tersor.data.walk.shelf import Shelf
from tersor.data.walk.stream import Stream
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network
from tersor.graph.nodes import operand

_PULLS = 256  # samples times v, at least; fewer give a noisy mean
DRAWS = 2, 8  # v for every batch, at least and at most
ROOM = 2**26  # numbers of changed weights that are held at a time

Moves = dict[str, Float[Tensor, "ways numbers"]]  # layer → ΔW and Δb of each way, flattened


def estimates(
    network: Network,
    parts: Sequence[Part],
    fitting: Sequence[Batch],
    judging: Sequence[Batch],
    reference: Sequence[Any],
    refit: Refit,
    shelf: Shelf | None = None,
) -> Iterator[list[float]]:
    """Estimate the damage of every way, part by part.

    Args:
        network: The network; it is not changed. Every op has a gradient.
        parts: The parts.
        fitting: Unlabelled inputs to which the changed weights are fitted.
        judging: Unlabelled inputs on which the damage is estimated.
        reference: The outputs for these.
        refit: How the weights are fitted.
        shelf: Keeps the values; by default one that has room for all.
    """
    units = _units(reference)
    for some in _rounds(network, parts):
        moves = _moves(network, some, fitting, refit, shelf)
        for damages in _squared(network, moves, judging, units):
            yield damages.tolist()


def _units(reference: Sequence[Any]) -> list[float]:
    """‖y‖ of each output, times √ their number: squares add up to the mean of noise over signal."""
    energies = torch.tensor([[float(y.square().sum()) for y in floats(x)] for x in reference])
    return (energies.sum(0) * energies.shape[1]).sqrt().tolist()


def _rounds(network: Network, parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Divide parts such that the changed weights of some find room."""
    sizes = {layer.name: layer.weight.numel() for layer in layers(network)}
    some, used = list[Part](), 0
    for part in parts:
        size = len(part.ways) * sum(sizes[name] for name in part.changes)
        if some and used + size > ROOM:
            yield some
            some, used = [], 0
        some.append(part)
        used += size
    if some:
        yield some


def _moves(
    network: Network,
    parts: Sequence[Part],
    batches: Sequence[Batch],
    refit: Refit,
    shelf: Shelf | None,
) -> list[Moves]:
    """Fit the changed weights of all parts while the data pass once."""
    todo = _named(network, {name for part in parts for name in part.changes})
    moves, stream = [Moves() for _ in parts], Stream(network, batches, False, shelf)
    for node in network.nodes():
        if not todo:
            break
        layer = todo.pop(node, None)
        given = stream.of(operand(node)) if layer else []
        stream.run(node)
        if layer is not None:
            moments = moments_at(layer, given, stream.of(node), refit)
            for part, of_part in zip(parts, moves, strict=True):
                if layer.name in part.changes:
                    weight_of = weight_by_way(layer, part, moments, refit)
                    rows = [_moved(layer, *weight_of(way)) for way in part.ways]
                    of_part[layer.name] = torch.stack(rows)
    return moves


def _named(network: Network, names: Collection[str]) -> dict[fx.Node, Layer]:
    return {layer.node: layer for layer in layers(network) if layer.name in names}


def _moved(layer: Layer, weight: Tensor, shift: Tensor | None) -> Float[Tensor, " numbers"]:
    moved = layer.grouped(weight) - layer.grouped_weight()
    shift = moved.new_zeros(moved.shape[:2]) if shift is None else shift
    return torch.cat([moved.flatten(), shift.flatten()])


def _squared(
    network: Network, moves: Sequence[Moves], batches: Sequence[Batch], units: Sequence[float]
) -> list[Float[Tensor, " ways"]]:
    """Σ_n E_v (Σ_l ⟨ΔW_l, G_nl(v)⟩)² of each way of each part."""
    found = _named(network, {name for of_part in moves for name in of_part})
    sizes = [len(next(iter(of_part.values()))) for of_part in moves]
    total = [torch.zeros(size, dtype=torch.float64) for size in sizes]
    least, most = DRAWS
    draws = min(max(math.ceil(_PULLS / sum(map(samples_of, batches))), least), most)
    generator = torch.Generator().manual_seed(0)
    for batch in batches:
        pulled, count = [[torch.zeros(size, 1)] * draws for size in sizes], samples_of(batch)
        for pull in output_pulls(network, found, batch, units, draws, generator):
            layer = found[pull.node]
            for draw, gradient in enumerate(pull.gradients):
                gradients = _of_samples(layer, pull.given, gradient, count).mT
                for each, of_part in zip(pulled, moves, strict=True):
                    if layer.name in of_part:
                        each[draw] = each[draw] + of_part[layer.name] @ gradients
        for number, values in enumerate(pulled):
            squares = torch.stack(values).double().square()
            total[number] = total[number] + squares.sum(2).mean(0)
    return total


def _of_samples(
    layer: Layer, x: Tensor, gradient: Tensor, count: int
) -> Float[Tensor, "samples numbers"]:
    """The gradients with respect to weight and bias, of each sample alone."""
    size = gradient[0, ..., 0].numel() if layer.is_linear else gradient[0, 0].numel()
    everywhere = torch.arange(size).expand(len(gradient), size)
    x, g = read_patches(layer, x, everywhere), written_outputs(layer, gradient, everywhere)
    each = count if x.shape[2] % count == 0 else 1
    x, g = (v.unflatten(2, (each, -1)).movedim(2, 0) for v in (x, g))
    return torch.cat([(g @ x.mT).flatten(1), g.sum(-1).flatten(1)], 1)
