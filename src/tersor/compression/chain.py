"""Replaces a layer by a chain of layers: its geometry, its cost, and the edit of the graph.

The factor that has the taps of a kernel axis also has the layer's stride, padding and dilation
along this axis. An axis along which no factor has more than one tap belongs to the first factor.
Factors before the owner of an axis run at the input resolution, those after it at the output
resolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from tersor.graph.costs import batch_size, macs
from tersor.graph.layers import Layer, per_axis
from tersor.graph.nodes import argument, operand, overload, set_argument
from tersor.graph.shapes import shapes

_GEOMETRY = {"stride": 1, "padding": 0, "dilation": 1}  # option → its neutral value
_ORIGIN = ("nn_module_stack", "stack_trace")


@dataclass(frozen=True)
class LayerSizes:
    """The sizes at which one call of a layer runs. They stay the same when channels are pruned.

    Attributes:
        before: Shape of its input; the number of channels in it is not used.
        after: Shape of its output; the number of channels in it is not used.
        channel_axis: The axis of the channels in both shapes.
        batch: The number of samples in these shapes.
        is_transposed: Whether it is a transposed convolution, which multiplies at every position
            of its input.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    channel_axis: int
    batch: int
    is_transposed: bool

    @classmethod
    def of(cls, layer: Layer, seen: dict[fx.Node, Any] | None = None) -> "LayerSizes":
        """Read the sizes of a layer.

        Args:
            layer: The layer.
            seen: The result of `shapes` for its network. Default: computed here.
        """
        seen = shapes(layer.network) if seen is None else seen
        before, after = tuple(seen[layer.input]), tuple(seen[layer.node])
        batch = batch_size(layer.network)
        return cls(before, after, layer.channel_axis, batch, layer.is_transposed)

    def macs(self, *factors: Sequence[int]) -> int:
        """Count the MACs of a layer at these sizes, or of a chain in its place, for one sample.

        Args:
            factors: Shape of the weight, or shapes of the weights of the chain.
        """
        if self.is_transposed:
            return sum(macs(shape, self.before, self.channel_axis, self.batch) for shape in factors)
        owners = owner_of_axes(factors)
        stages = (_stage(self.before, self.after, owners, n) for n in range(len(factors)))
        pairs = zip(factors, stages, strict=True)
        return sum(macs(shape, sizes, self.channel_axis, self.batch) for shape, sizes in pairs)


def owner_of_axes(factors: Sequence[Sequence[int]]) -> list[int]:
    """Find, for each kernel axis, the number of the factor that has its taps.

    Args:
        factors: Shapes of the weights of a chain.
    """
    axes = range(2, len(factors[0]))
    return [next((n for n, shape in enumerate(factors) if shape[axis] > 1), 0) for axis in axes]


def _stage(
    before: Sequence[Any], after: Sequence[Any], owners: list[int], number: int
) -> list[Any]:
    """The shape behind a factor, with the channels of the whole layer's output.

    Args:
        before: Shape of the layer's input.
        after: Shape of its output.
        owners: The result of `owner_of_axes`.
        number: The number of the factor.
    """
    sizes = [*after]
    for axis, owner in zip(range(-len(owners), 0), owners, strict=True):
        if owner > number:
            sizes[axis] = before[axis]
    return sizes


def replace_by_chain(layer: Layer, chain: Sequence[Tensor]) -> list[Layer]:
    """Replace a layer by its factors. The last factor reuses the old call, and has the bias.

    The names are those that an `nn.Sequential` would give: `name.0.weight`, `name.1.weight`, …

    Args:
        layer: The layer; its network is edited in place.
        chain: Weights of the factors.

    Returns:
        The factors.
    """
    network, node, name = layer.network, layer.node, layer.name
    owners = owner_of_axes([factor.shape for factor in chain])
    settings = [_settings(layer, chain, number, owners) for number in range(len(chain))]
    before, after = operand(node).meta["val"], node.meta["val"]
    value, found = operand(node), []
    for number, weight in enumerate(chain):
        own = weight.detach().clone(memory_format=torch.contiguous_format)
        stored = network.add_tensor(f"{name}.{number}.weight", own, before=node)
        if number < len(chain) - 1:
            call = _call(node, value, stored, settings[number])
            shape = _stage(before.shape, after.shape, owners, number)
            shape[layer.channel_axis] = len(weight)
            call.meta["val"] = after.new_empty(shape)
            found.append(Layer(call, network))
            value = call
        else:
            node.update_arg(0, value)
            set_argument(node, "weight", stored)
            if layer.bias is not None:
                bias = network.add_tensor(f"{name}.{number}.bias", layer.bias.detach(), node)
                set_argument(node, "bias", bias)
    for option, setting in settings[-1].items():
        set_argument(node, option, setting)
    return [*found, Layer(node, network)]


def _call(like: fx.Node, value: fx.Node, weight: fx.Node, settings: dict[str, Any]) -> fx.Node:
    """Insert a call of the same op, with other arguments, in front of a call."""
    with like.graph.inserting_before(like):
        node = like.graph.call_function(overload(like), (value, weight, None))
    for option, setting in settings.items():
        set_argument(node, option, setting)
    node.meta.update({key: like.meta[key] for key in _ORIGIN if key in like.meta})
    return node


def _settings(
    layer: Layer, chain: Sequence[Tensor], number: int, owners: list[int]
) -> dict[str, Any]:
    """Stride, padding, dilation and groups of one factor."""
    if layer.is_linear:
        return {}
    found: dict[str, Any] = {}
    for option, neutral in _GEOMETRY.items():
        value = argument(layer.node, option)
        if isinstance(value, str):
            found[option] = value
            continue
        each = per_axis(layer, option)
        found[option] = [v if o == number else neutral for v, o in zip(each, owners, strict=True)]
    by_channel = number > 0 and chain[number].shape[1] != chain[number - 1].shape[0]
    return {**found, "groups": chain[number].shape[0] if by_channel else 1}
