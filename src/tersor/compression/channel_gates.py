"""Random gates on channel groups, as modules of a network in training.

A gate multiplies what layers read of a unit, by the same number in all of them, so that a gate of 0
is the same as leaving the unit out, whatever function lies in front. In training every sample draws
gates of its own; otherwise a gate is its mean.

Differs from the papers in: gates lie on what the layers of a coupled group read, not on what one
layer makes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, fx, nn

from tersor.compression.groups import Group, Groups, channel_groups
from tersor.core.gates import (
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
_SPREAD = 4.0  # of log α about its start


@dataclass(frozen=True)
class Gates:
    """Options of gates.

    Attributes:
        kind: `"vib"` (VIBNet), `"bayes"` (Bayesian compression) or `"l0"` (hard concrete): see
            `tersor.core.gates`.
        start: log α at the start. Default: −6 for Gaussian gates, 2.5 for hard concrete ones, whose
            means are then 1.
        speed: How many times faster than weights log α is learned. A whole run has to move it by
            ten or so, and weights by little; see `travel` of `tersor.compression.gate_training`.
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
        raw: log σ², or log α of hard concrete gates, over `speed`.
        weight: λ of `tersor.compression.gate_training`; kept here, so that a stopped run can be
            gone on with.
        border: Idem; how open the first unit to go was at the start.
        pull: Idem; λ e^d.
        costs: Idem; c of each unit.
        stays: Whether each unit is there; one that is not is multiplied by 0.
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
        """One more layer that reads the group.

        Args:
            channels: The unit of each of its inputs; −1 for those of other groups.
            axis: The axis of the channels, counted from the end.
        """
        self.register_buffer(f"channels_{len(self.axes)}", channels, persistent=False)
        self.axes.append(axis)
        return len(self.axes) - 1

    def forward(self, x: Tensor, site: int) -> Tensor:
        """Multiply what a layer reads; the first site in a pass draws for all."""
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
        return x * values.reshape(shape)

    def sample(self, noise: Float[Tensor, "samples units"]) -> Float[Tensor, "samples units"]:
        """z for given noise: normal, or uniform for hard concrete gates."""
        scaled = self.raw * self.options.speed
        if self.is_hard:
            return self._left(hard_concrete(scaled, noise))
        return self._left(gaussian_gates(self.mean, scaled, noise))

    def means(self) -> Float[Tensor, " units"]:
        """What the gates are when no noise is drawn."""
        return self._left(rectified_sigmoid(self._log_alpha()) if self.is_hard else self.mean)

    def _left(self, values: Float[Tensor, "*_ units"]) -> Float[Tensor, "*_ units"]:
        return values * self.stays.to(values)  # a copy: `stays` may change before backward

    def openness(self) -> Float[Tensor, " units"]:
        """Below 0 where a gate is closed by its own threshold: the logit of `open`."""
        log_alpha = self._log_alpha()
        return log_alpha - OPEN if self.is_hard else -log_alpha

    def open(self) -> Float[Tensor, " units"]:
        """How likely each unit is to stay: above ½ if it does."""
        return torch.sigmoid(self.openness())

    def complexity(self) -> Float[Tensor, " units"]:
        """The regulariser of each unit."""
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
    """Put gates in front of all layers that read a group of channels.

    They draw noise until `network.module.eval()`.

    Args:
        network: Edited in place; with the means of the gates, its function is unchanged.
        options: See `Gates`.
        worth: Name of a group → what each of its units is worth. Gates start open in proportion,
            about `options.start`, which makes the means of hard concrete ones that are worth
            little smaller than 1. Default: all the same.
        groups: The groups that get gates; default: all.

    Raises:
        InvalidInputError: The network has gates, or no group of channels to put them on.
    """
    if any(gates(network)):
        raise InvalidInputError("the network has gates; take them out first, with remove_gates")
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
    """Move log α from where it starts by the logarithm of what each unit is worth."""
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
