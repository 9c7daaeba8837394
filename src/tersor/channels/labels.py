"""Channel labels: the channel that each element of each value belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, fx

from tersor.graph.layers import Layer
from tersor.graph.network import Network


@dataclass(frozen=True)
class StoredAxis:
    """The channels along one axis of a stored tensor, as one of its readers sees them.

    Attributes:
        node: The `get_attr` node of the tensor.
        axis: The axis, counted from the front.
        channels: Their labels.
        reader: The call that reads it.
    """

    node: fx.Node
    axis: int
    channels: Int[Tensor, " channels"]
    reader: fx.Node


@dataclass
class Labels:
    """The result of the walk.

    Attributes:
        network: The network.
        shapes: Node → shape of its value on the example inputs.
        of: Node → labels of its value, or a list of them.
        count: Number of labels so far.
        pairs: Labels that belong to the same class.
        frozen: Label → why it cannot be rescaled.
        produced: Layers with the labels of their output channels.
        consumed: Layers with the labels of their input channels.
        clips: Clips with the labels of their channels, and the channel axis.
        stored: Stored tensors with the labels along one of their axes, if they were requested.
        constant: Nodes that do not depend on an input.
    """

    network: Network
    shapes: dict[fx.Node, Any]
    of: dict[fx.Node, Any] = field(default_factory=dict)
    count: int = 0
    pairs: list[Int[Tensor, "2 pairs"]] = field(default_factory=list)
    frozen: dict[int, str] = field(default_factory=dict)
    produced: list[tuple[Layer, Int[Tensor, " channels"]]] = field(default_factory=list)
    consumed: list[tuple[Layer, Int[Tensor, " channels"]]] = field(default_factory=list)
    clips: list[tuple[fx.Node, Int[Tensor, " channels"], int]] = field(default_factory=list)
    stored: list["StoredAxis"] = field(default_factory=list)
    constant: set[fx.Node] = field(default_factory=set)

    def fresh(self, count: int) -> Int[Tensor, " count"]:
        """New labels."""
        self.count += count
        return torch.arange(self.count - count, self.count)

    def freeze(self, labels: Any, reason: str) -> None:
        """Forbid scaling of these labels, or lists of labels; the first reason is kept."""
        if isinstance(labels, list | tuple):
            for part in labels:
                self.freeze(part, reason)
        elif isinstance(labels, Tensor):
            for label in compact(labels).unique().tolist():
                self.frozen.setdefault(label, reason)

    def freeze_inputs(self, node: fx.Node, reason: str) -> None:
        """Forbid scaling of everything that a node reads."""
        for argument_node in node.all_input_nodes:
            self.freeze(self.of.get(argument_node), reason)

    def is_constant(self, arg: Any) -> bool:
        """Whether this argument does not depend on an input, as numbers do not."""
        is_tensor = isinstance(arg, fx.Node) and isinstance(self.shapes[arg], torch.Size)
        return not is_tensor or arg in self.constant

    def is_fixed(self, arg: Any) -> bool:
        """Whether the scale of this argument cannot change."""
        if self.is_constant(arg):
            return True
        return all(label in self.frozen for label in compact(self.of[arg]).unique().tolist())

    def unite(self, left: Tensor, right: Tensor) -> None:
        """Put labels into the same class, element by element."""
        left, right = torch.broadcast_tensors(compact(left), compact(right))
        numbers = (left * self.count + right)[left != right].unique()  # one for each pair
        self.pairs.append(torch.stack((numbers // self.count, numbers % self.count)))


def along(labels: Int[Tensor, "..."], axis: int) -> Int[Tensor, " channels"] | None:
    """The labels along one axis, or None if they also vary along another."""
    rows = compact(labels.movedim(axis, 0), first=1)
    rows = rows.reshape(len(rows), -1)
    return rows[:, 0].clone() if bool((rows == rows[:, :1]).all()) else None


def compact(labels: Int[Tensor, "..."], first: int = 0) -> Int[Tensor, "..."]:
    """Cut axes from `first` on to size 1 if the label tensor is merely expanded along them."""
    for axis in range(first, labels.ndim):
        if labels.stride(axis) == 0 and labels.shape[axis] > 1:
            labels = labels.narrow(axis, 0, 1)
    return labels


def spread(channels: Int[Tensor, " channels"], shape: Sequence[int], axis: int) -> Tensor:
    """Spread one label per channel over a value whose other axes have the given sizes."""
    sizes = [*shape]
    sizes[axis] = len(channels)
    return channels.reshape(-1, *[1] * (-1 - axis)).expand(sizes)
