"""Random gates on channel groups, as modules of a network in training.

A gate multiplies a unit in the inputs of all layers that read it, by the same number. So a gate of
0 is the same as pruning the unit, whatever function comes before. In training, gates are drawn for
every sample; otherwise a gate is its mean.

Differs from the papers in: gates multiply the inputs of the layers that read a coupled group, not
the output of a single layer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, fx, nn

from tersor.compression.groups import Group, Groups, channel_groups
from tersor.core.random_gates import (
    OPEN,
    bottleneck_divergence,
    dropout_divergence,
    gaussian_gates,
    hard_concrete,
    log_alpha,
    open_probability,
)
from tersor.core.soft_rounding import rectified_sigmoid
from tersor.errors import InvalidInputError
from tersor.graph.network import Applied, Network, free_name
from tersor.graph.nodes import operand
from tersor.names import GateKind

_TINY = 1e-12
_SPREAD = 4.0  # largest distance of an initial log α from `Gates.start`


@dataclass(frozen=True)
class Gates:
    """Options of gates.

    Attributes:
        kind: `"vib"` (VIBNet), `"bayes"` (Bayesian compression) or `"l0"` (hard concrete): see
            `tersor.core.random_gates`.
        start: Initial log α. Default: −6 for Gaussian gates, and 2.5 for hard concrete gates, whose
            means are then 1.
        speed: Learning rate of log α, as a multiple of that of the weights. A whole run has to move
            log α by about ten, but weights only a little; see `Gating.largest_move` in
            `tersor.compression.gate_training`.
    """

    kind: GateKind = "vib"
    start: float | None = None
    speed: float = 10.0


class Gate(nn.Module):
    """The gates of one group.

    Attributes:
        options: See `Gates`.
        name: The name of the group.
        mean: μ of Gaussian gates.
        raw: log σ², or log α of hard concrete gates, divided by `speed`.
        weight: λ of `tersor.compression.gate_training`. This and the next three are part of the
            gate, so that checkpoints contain them.
        border: The initial openness of the first unit to be pruned.
        pull: λ e^d.
        costs: c of each unit.
        stays: Whether each unit still exists; others are multiplied by 0.
    """

    raw: Tensor
    weight: Tensor
    border: Tensor
    pull: Tensor
    costs: Tensor
    stays: Tensor
    mean: Tensor

    def __init__(self, options: Gates, group: Group, like: Tensor) -> None:
        super().__init__()
        self.options, self.name = options, group.name
        start = options.start if options.start is not None else 2.5 if self.is_hard else -6.0
        new = like.new_full((len(group),), start / options.speed)
        self.raw = nn.Parameter(new)
        if not self.is_hard:
            self.mean = nn.Parameter(torch.ones_like(new))
        self.register_buffer("weight", like.new_zeros(()))
        self.register_buffer("border", like.new_full((), float("nan")))
        self.register_buffer("pull", like.new_zeros(()))
        self.register_buffer("costs", torch.zeros_like(new))
        self.register_buffer("stays", torch.ones_like(new, dtype=torch.bool))
        self.axes: list[int] = []
        self._noise: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_noise": None}

    @property
    def is_hard(self) -> bool:
        """Whether the gates are hard concrete."""
        return self.options.kind == "l0"

    def add_site(self, channels: Int[Tensor, " channels"], axis: int) -> int:
        """Add one more layer that reads the group, and return its number.

        Args:
            channels: The unit of each of its input channels; −1 for those of other groups.
            axis: The axis of the channels, counted from the end.
        """
        self.register_buffer(f"channels_{len(self.axes)}", channels, persistent=False)
        self.axes.append(axis)
        return len(self.axes) - 1

    def forward(self, x: Tensor, site: int) -> Tensor:
        """Multiply the input of a layer; the first site in a pass draws the noise for all sites."""
        channels: Any = getattr(self, f"channels_{site}")
        if not self.training:
            values = self.means()[None]
        else:
            if site == 0 or self._noise is None:
                draw = torch.rand if self.is_hard else torch.randn
                shape = len(x), len(self.raw)
                self._noise = draw(shape, dtype=x.dtype, device=x.device)
            values = self.sample(self._noise)
        values = torch.cat([values, values.new_ones(len(values), 1)], 1)[:, channels]
        shape = [len(values), *[1] * (x.ndim - 1)]
        shape[self.axes[site]] = x.shape[self.axes[site]]
        return x * values.reshape(shape).to(x.dtype)

    def sample(self, noise: Float[Tensor, "samples units"]) -> Float[Tensor, "samples units"]:
        """Compute z from noise, which is normal, or uniform for hard concrete gates."""
        scaled = self.raw * self.options.speed
        if self.is_hard:
            return self._left(hard_concrete(scaled, noise))
        return self._left(gaussian_gates(self.mean, scaled, noise))

    def means(self) -> Float[Tensor, " units"]:
        """The values of the gates without noise."""
        return self._left(rectified_sigmoid(self._log_alpha()) if self.is_hard else self.mean)

    def _left(self, values: Float[Tensor, "*_ units"]) -> Float[Tensor, "*_ units"]:
        return values * self.stays.to(values)  # a copy: `stays` may change before backward

    def openness(self) -> Float[Tensor, " units"]:
        """The logit of `open`: below 0 for gates that are closed by their own threshold."""
        log_alpha = self._log_alpha()
        return log_alpha - OPEN if self.is_hard else -log_alpha

    def open(self) -> Float[Tensor, " units"]:
        """The probability that each unit stays; it is above ½ for those that do."""
        return torch.sigmoid(self.openness())

    def complexity(self) -> Float[Tensor, " units"]:
        """The regularizer of each unit."""
        if self.is_hard:
            return open_probability(self._log_alpha())
        kinds = {"vib": bottleneck_divergence, "bayes": dropout_divergence}
        return kinds[self.options.kind](self._log_alpha())

    def _log_alpha(self) -> Float[Tensor, " units"]:
        scaled = self.raw * self.options.speed
        return scaled if self.is_hard else log_alpha(self.mean, scaled)


def gates(network: Network) -> Iterator[Gate]:
    """The gates of all groups."""
    for module in network.module.modules():
        if isinstance(module, Gate):
            yield module


def insert_gates(
    network: Network,
    options: Gates = Gates(),
    worth: Mapping[str, Tensor] | None = None,
    groups: Groups | None = None,
) -> None:
    """Insert gates in front of all layers that read a group of channels.

    They draw noise until `network.module.eval()` is called.

    Args:
        network: Edited in place; with the means of the gates, its function is unchanged.
        options: See `Gates`.
        worth: Name of a group → importance of each of its units. The more important a unit, the
            more open its gate starts, around `options.start`. The means of unimportant hard
            concrete gates then start below 1. Default: all units are equally important.
        groups: The groups that get gates. Default: all.

    Raises:
        InvalidInputError: The network has gates already, or no group of channels.
    """
    if any(gates(network)):
        raise InvalidInputError("the network has gates; call remove_gates first")
    groups = channel_groups(network) if groups is None else groups
    network.records += groups.refused
    if not groups.found:
        raise InvalidInputError("the network has no group of channels that could be pruned")
    order = {node: number for number, node in enumerate(network.graph.nodes)}
    for group in groups.found:
        ports = group.readers
        gate = Gate(options, group, ports[0].layer.weight.detach())
        name = free_name(network.module, f"{group.name}.gate")
        network.module.add_submodule(name, gate)
        for port in sorted(ports, key=lambda port: order[port.layer.node]):
            channels = group.places(port.classes).to(gate.raw.device)
            _insert(port.layer.node, name, gate.add_site(channels, port.layer.channel_axis))
        what = f"{options.kind} gates in front of {len(ports)} layers"
        network.records.append(Applied(group.name, "gates", what, {"units": float(len(group))}))
    if worth is not None:
        _start_by(worth, list(gates(network)))
    network.finish()


def _start_by(worth: Mapping[str, Tensor], found: list[Gate]) -> None:
    """Shift the initial log α by the logarithm of the importance of each unit."""
    logs = torch.cat([worth[gate.name] for gate in found]).clamp(min=_TINY).log()
    parts = (logs - logs.mean()).clamp(-_SPREAD, _SPREAD).split([len(g.raw) for g in found])
    for gate, part in zip(found, parts, strict=True):
        more = part.to(gate.raw) / gate.options.speed
        gate.raw.data += more if gate.is_hard else -more


def _insert(layer: fx.Node, name: str, site: int) -> None:
    x = operand(layer)
    with layer.graph.inserting_before(layer):
        node = layer.graph.call_module(name, (x, site))
    node.meta = {"val": x.meta.get("val")}
    layer.update_arg(0, node)
