"""Scores the units of a group; those with the lowest scores are pruned first.

The formulas are in `tersor.core.channel_scores`. This file collects their inputs from a network.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.channels.partition import Port
from tersor.compression.covariance import input_covariances
from tersor.compression.groups import Group
from tersor.core import channel_scores
from tersor.core.lasso import contributions, strongest
from tersor.data.outputs.outputs import floats
from tersor.data.walk.observe import Batch, in_order
from tersor.data.walk.shelf import Shelf
from tersor.errors import InvalidInputError
from tersor.graph.network import Network
from tersor.graph.nodes import argument
from tersor.names import ScoreKind

aten = torch.ops.aten
Score = Float[Tensor, " units"]
Loss = Callable[[Any, int], Tensor]  # outputs and number of a batch → loss, summed over samples
NEED_DATA: tuple[ScoreKind, ...] = ("fisher", "taylor", "lasso")
_POSITIONS = 4096  # output positions of each layer that are sampled for the LASSO


def scorer(
    network: Network,
    groups: list[Group],
    batches: Sequence[Batch],
    kind: ScoreKind,
    shelf: Shelf | None = None,
) -> Callable[[Group, int], Score]:
    """Make a function that scores the units of a group for a given number of units to keep.

    Args:
        network: The network.
        groups: Some of its groups.
        batches: Inputs, as `(args, kwargs)`; required by the kinds in `NEED_DATA`.
        kind: The kind of score. Only that of the LASSO depends on how many units stay.
        shelf: Keeps the values; by default one that has room for all.

    Raises:
        InvalidInputError: As for `batchnorm`.
    """
    if kind == "lasso":
        nodes = {node for group in groups for node in readers(group)}
        covariances = input_covariances(network, nodes, batches, _POSITIONS, shelf=shelf)
        parts = {group.name: contributed(group, covariances) for group in groups}
        return lambda group, count: lasso_scores(parts[group.name], count)
    if kind == "fisher" or kind == "taylor":
        found = gradient_scores(network, groups, batches, kind)
    else:
        score = magnitude if kind == "magnitude" else batchnorm
        found = {group.name: score(network, group) for group in groups}
    return lambda group, _: found[group.name]


def magnitude(network: Network, group: Group) -> Score:
    """Compute the L2 norm of the weights that compute or read a unit, each layer normalized.

    Args:
        network: The network.
        group: One of its groups.
    """
    found = []
    for stored in group.stored:
        weight = network.tensor(stored.node).detach()
        if weight.ndim > 1:
            squares = weight.movedim(stored.axis, 0).flatten(1).square().sum(1).float().cpu()
            found.append(_sum_over_units(group, stored.channels, squares))
    return channel_scores.magnitude(torch.stack(found))


def batchnorm(network: Network, group: Group) -> Score:
    """Sum |γ| over the BatchNorms, folded or not, of the layers that compute a unit.

    Args:
        network: The network.
        group: One of its groups.

    Raises:
        InvalidInputError: No BatchNorm follows a layer of this group.
    """
    found = [
        _sum_over_units(group, classes, gamma.detach().abs().float().cpu())
        for classes, gamma in _gammas(network, group)
    ]
    if not found:
        raise InvalidInputError(
            f"no BatchNorm follows the layers of group {group.name!r}; use scores='magnitude'"
        )
    return torch.stack(found).sum(0)


def _gammas(network: Network, group: Group) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over the classes and γ of BatchNorms, of the present and of the folded ones."""
    for stored in group.stored:
        reader = stored.reader
        is_norm = reader.target is aten.batch_norm.default
        if is_norm and stored.node is argument(reader, "weight"):
            yield stored.channels, network.tensor(stored.node)
    for port in group.producers:
        notes = network.statistics.get(port.layer.node.name)
        if notes is not None:
            yield port.classes, notes.std


def gradient_scores(
    network: Network,
    groups: list[Group],
    batches: Sequence[Batch],
    kind: Literal["taylor", "fisher"] = "fisher",
    loss: Loss | None = None,
    seed: int = 0,
) -> dict[str, Score]:
    """Compute Taylor or Fisher scores from gradients of a loss, or of the outputs without labels.

    Args:
        network: The network.
        groups: Some of its groups.
        batches: Inputs, as `(args, kwargs)`.
        kind: The kind of score.
        loss: The loss of a batch's outputs, summed over its samples. Default: the outputs times
            random signs; the Fisher score is then half the squared error of the outputs.
        seed: Seed of the random signs.

    Returns:
        Name of a group → its scores.
    """
    if not groups:
        return {}
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[Tensor]] = {group.name: [] for group in groups}
    ports = {port.layer.node: port for group in groups for port in group.consumers}
    for number, (args, kwargs) in enumerate(batches):
        runner = _Gated(network, ports)
        with torch.enable_grad():
            outputs = runner.run(*in_order(network, args, kwargs), enable_io_processing=False)
            total = loss(outputs, number) if loss else _projection(outputs, generator)
            gradients = torch.autograd.grad(total, list(runner.gates.values()), allow_unused=True)
        of_node = dict(zip(runner.gates, gradients, strict=True))
        for group in groups:
            found[group.name].append(_per_unit(group, of_node))
    score = {"taylor": channel_scores.taylor, "fisher": channel_scores.fisher}[kind]
    return {name: score(torch.cat(parts)) for name, parts in found.items()}


def contributed(
    group: Group, covariances: Mapping[fx.Node, Float[Tensor, "groups inputs inputs"]]
) -> Float[Tensor, "units units"]:
    """Measure the contributions of units to the layers that read them: A of `tersor.core.lasso`.

    Args:
        group: The group.
        covariances: Cov(x) of the layers that read the group; see `input_covariances`.
    """
    total: Tensor = torch.zeros(len(group), len(group), dtype=torch.float64)
    for port in group.consumers:
        if port.layer.node in covariances:
            layer, covariance = port.layer, covariances[port.layer.node]
            weight = layer.grouped_weight().double().flatten(2)
            unit = group.places(port.classes).reshape(layer.groups, -1)
            unit = unit.repeat_interleave(weight.shape[2] // unit.shape[1], dim=1)
            part = contributions(weight, covariance, unit.to(weight.device), len(group))
            total = total + (part / part.trace().clamp(min=torch.finfo(part.dtype).tiny)).cpu()
    return total


def lasso_scores(total: Float[Tensor, "units units"], count: int) -> Score:
    """Compute scores such that the LASSO keeps the units with the `count` highest ones.

    Args:
        total: The result of `contributed`.
        count: How many units to keep.
    """
    strength = strongest(total, count).abs()
    return (strength + 1e-6 * total.diagonal() / total.diagonal().max()).float()


def readers(group: Group) -> set[fx.Node]:
    """The layers whose inputs determine the LASSO scores of a group.

    Args:
        group: The group.
    """
    layers = [port.layer for port in group.consumers]
    return {layer.node for layer in layers if not layer.is_depthwise and not layer.is_transposed}


def _projection(outputs: Any, generator: torch.Generator) -> Tensor:
    signed = [(x * channel_scores.signs(x, generator)).sum() for x in floats(outputs)]
    return torch.stack(signed).sum()


def _per_unit(group: Group, gradients: Mapping[fx.Node, Tensor | None]) -> Tensor:
    """Sum ∂L/∂g over all layers that read a unit, for each sample and unit."""
    total: Tensor = torch.zeros(())
    for port in group.consumers:
        gradient = gradients.get(port.layer.node)
        if gradient is not None:
            values = gradient.float().cpu()
            total = total + _sum_over_units(group, port.classes, values.T).T
    return total


def _sum_over_units(group: Group, classes: Tensor, values: Float[Tensor, "places *_"]) -> Tensor:
    """Sum the values of all channels that belong to the same unit."""
    unit = group.places(classes)
    inside = unit >= 0
    total = values.new_zeros(len(group), *values.shape[1:])
    return total.index_add(0, unit[inside], values[inside])


class _Gated(fx.Interpreter):
    """Multiplies the inputs of layers by gates of value 1, one for each sample and channel.

    Depthwise layers have no gates: the layers that read their outputs have them.
    """

    def __init__(self, network: Network, ports: Mapping[fx.Node, Port]) -> None:
        super().__init__(network.module)
        self.ports = {n: port for n, port in ports.items() if not port.layer.is_depthwise}
        self.gates: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n not in self.ports:
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        x: Any = args[0]
        axis = self.ports[n].layer.channel_axis
        gate = x.new_ones(len(x), x.shape[axis]).requires_grad_()
        self.gates[n] = gate
        spread = [len(x), *[1] * (x.ndim - 1)]
        spread[axis] = x.shape[axis]
        return self.call_function(n.target, (x * gate.view(spread), *args[1:]), kwargs)
