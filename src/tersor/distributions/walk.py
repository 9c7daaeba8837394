"""Collects what is known about the values of a network, in one walk in execution order."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, fx

from tersor.distributions.distribution import Distribution
from tersor.distributions.pointwise import Pointwise
from tersor.graph.network import Network
from tersor.graph.nodes import source


@dataclass(frozen=True)
class Layout:
    """A value whose channels lie anywhere, such as between the halves of a channel shuffle.

    Attributes:
        channels: The distribution of each channel.
        labels: The value's channel numbers, in the shape of the value.
    """

    channels: Distribution
    labels: Int[Tensor, "..."]

    @property
    def guess(self) -> bool:
        """Whether the distribution of any channel is a guess."""
        return self.channels.guess

    def located(self) -> Distribution | None:
        """The distribution along the one axis on which the labels vary, if there is one."""
        for axis in dict.fromkeys((self.channels.axis, *range(1, self.labels.ndim))):
            if axis < self.labels.ndim:
                rows = self.labels.movedim(axis, 0).flatten(1)
                if bool((rows == rows[:, :1]).all()):
                    return self.channels.take(rows[:, 0], axis)
        return None


@dataclass
class Walk:
    """What is known so far about the values of a network.

    Attributes:
        network: The network.
        sigmas: Range of nearly Gaussian values, in standard deviations.
        shapes: Node → shape of its value on the example inputs.
        values: Node → distribution, layout, tensor (if it depends on no input), or list of them.
        expressions: Node → the function of another node's value that it computes.
    """

    network: Network
    sigmas: float
    shapes: dict[fx.Node, Any]
    values: dict[fx.Node, Any] = field(default_factory=dict)
    expressions: dict[fx.Node, Pointwise] = field(default_factory=dict)

    def value(self, arg: Any) -> Any:
        """What is known about an argument, ignoring quantizers; numbers are themselves."""
        return self.values.get(source(arg)) if isinstance(arg, fx.Node) else arg

    def of(self, arg: Any) -> Distribution | None:
        """The distribution of an argument, if its moments and its range are known."""
        value = self.value(arg)
        return value if isinstance(value, Distribution) and value.is_finite else None

    def shape(self, arg: Any) -> Any:
        """The shape of an argument's value; a number stands for itself."""
        return self.shapes[source(arg)]

    def expression(self, arg: fx.Node) -> Pointwise:
        """An argument as a function of its root, which is itself if it is not an expression."""
        node = source(arg)
        return self.expressions.get(node) or Pointwise.identity(node)

    def layout(self, arg: Any) -> Layout | None:
        """The channel of each element of an argument."""
        value, x = self.value(arg), self.of(arg)
        if isinstance(value, Layout) or x is None:
            return value if isinstance(value, Layout) else None
        shape = self.shape(arg)
        numbers = torch.arange(len(x.mean), device=x.mean.device)
        return Layout(x, numbers.view(-1, *[1] * (len(shape) - x.axis - 1)).expand(shape))

    def zeros(self, channels: int) -> Tensor:
        """One zero per channel, in the dtype and on the device of the weights."""
        return torch.zeros(channels).to(next(self.network.module.parameters(), torch.zeros(())))
