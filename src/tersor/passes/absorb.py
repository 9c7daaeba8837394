"""b₁ ← b₁ − c,  b₂ ← b₂ + W₂ c  with  c = max(0, β − 3|γ|): absorption of high biases.

DFQ, arXiv 1906.04721, §4.1.3. Equalization can leave channels whose values are all large and far
from zero, so that their range wastes the grid. A constant part c moves through the activation into
the next layer, since relu(z − c) = relu(z) − c wherever z ≥ c.

This pass is not exact: z ~ N(β, γ²) is below c for 0.135 % of all values, and next to zero padding
W₂ c subtracts more than was there (see `Absorb.borders`).

Differs from the paper in: layers that pad with zeros absorb nothing unless `Absorb.borders` is set.
Several layers may read the activation. Every activation that is the identity on an interval counts
as a ReLU (LeakyReLU, PReLU, ReLU6 where it does not saturate), and a clip per channel moves along.
With no activation and no padding in between, the whole mean β is absorbed, which is exact.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.checked import Positive, checked
from tersor.core.response import expected_response
from tersor.graph.layers import Layer, is_layer, layers
from tersor.graph.network import Applied, Gaussian, Network, Record, Skipped
from tersor.graph.nodes import argument, operand
from tersor.graph.ops import PADS, clip_bounds, padding_per_axis, pads_with_constant

aten = torch.ops.aten
INFINITY = float("inf")


@checked()
@dataclass(frozen=True)
class Absorb:
    """Options of high-bias absorption.

    Attributes:
        sigmas: Values are assumed to lie within this many standard deviations of their mean.
        borders: Also absorb into layers that pad with zeros, as the paper does. Next to the padding
            the output is then off by c times the weights that stick out. On small maps this can
            cost more than the finer grid gains.
    """

    sigmas: Positive = 3.0
    borders: bool = False


@dataclass
class _Path:
    """The path from a layer to its readers.

    Attributes:
        end: The value at the end of the path.
        low: The path is the identity from here …
        high: … to here,
        bounds: apart from clips at these stored bounds per channel, which can be moved.
        is_padded: Whether the value is padded with zeros.
    """

    end: fx.Node
    low: float = -INFINITY
    high: float = INFINITY
    bounds: list[fx.Node] = field(default_factory=list)
    is_padded: bool = False


def absorb(network: Network, options: Absorb = Absorb()) -> None:
    """Move the constant part of every high bias into the next layers.

    Needs the statistics that `fold` left, best after `equalize`.

    Args:
        network: Edited in place; its function changes if an assumption fails (see above).
        options: See `Absorb`.
    """
    for layer in layers(network):
        if layer.node.name in network.statistics:
            record = _absorb(layer, options)
            network.records += [] if record is None else [record]
    network.finish()


def absorbable(z: Gaussian, low: float, high: float, sigmas: float) -> Float[Tensor, " channels"]:
    """Find the largest c ≥ 0 for which z and z − c, without tails, both stay in `[low, high]`.

    Args:
        z: Distribution of the values per channel.
        low: Values are passed on unchanged from here
        high: to here; a channel that reaches beyond has nothing to absorb.
        sigmas: Where the tails begin, in standard deviations.
    """
    reach = sigmas * z.std
    c = (z.mean - reach - low).clamp(min=0)
    return torch.where(z.mean + reach <= high, c, torch.zeros_like(c))


def _absorb(layer: Layer, options: Absorb) -> Record | None:
    z = layer.network.statistics[layer.node.name]
    path = _follow(layer)
    reason = _refusal(layer, path, options)
    readers = [Layer(user, layer.network) for user in path.end.users]
    if reason is not None:
        is_high = bool((absorbable(z, 0.0, INFINITY, options.sigmas) > 0).any())
        return Skipped(layer.name, "absorb", reason) if is_high else None
    is_padded = path.is_padded or any(reader.pads_with_zeros for reader in readers)
    if path.low == -INFINITY and path.high == INFINITY and not is_padded:
        c = z.mean
    else:
        c = absorbable(z, max(path.low, 0.0), path.high, options.sigmas)
    for bound in path.bounds:  # a moved bound stays positive
        c = c.minimum(layer.network.tensor(bound).detach().flatten().clamp(min=0))
    if not bool(c.any()):
        return None
    _shift(layer, path, readers, c)
    layer.network.statistics[layer.node.name] = Gaussian(z.mean - c, z.std)
    into = ", ".join(reader.name for reader in readers)
    border = "; inexact next to its zero padding" if is_padded else ""
    numbers = {"channels": float((c != 0).sum()), "largest": float(c.abs().max())}
    return Applied(layer.name, "absorb", f"high biases moved into {into}{border}", numbers)


def _follow(layer: Layer) -> _Path:
    """Follow the path while a single reader passes some interval of values on unchanged."""
    path = _Path(layer.node)
    while len(path.end.users) == 1:
        (user,) = path.end.users
        if user.op != "call_function" or not user.args or user.args[0] is not path.end:
            break
        if user.target in PADS and _pads_maps(user, layer):
            path.is_padded |= pads_with_constant(user)
        elif user.target is aten.minimum.default and _is_own_bound(operand(user, 1)):
            path.bounds.append(operand(user, 1))
        elif (interval := _identity(user)) is not None:
            path.low, path.high = max(path.low, interval[0]), min(path.high, interval[1])
        else:
            break
        path.end = user
    return path


def _pads_maps(node: fx.Node, layer: Layer) -> bool:
    """True if a pad op adds copies or zeros around each channel, and no channels."""
    is_zero = not pads_with_constant(node) or not argument(node, "value")
    return is_zero and all(axis > layer.channel_axis for axis in padding_per_axis(node))


def _identity(node: fx.Node) -> tuple[float, float] | None:
    """The interval on which an activation is the identity, if there is one."""
    if node.target in (aten.leaky_relu.default, aten.prelu.default):
        return 0.0, INFINITY
    if node.target is aten.dropout.default:
        return -INFINITY, INFINITY
    return clip_bounds(node)


def _is_own_bound(node: fx.Node) -> bool:
    return node.op == "get_attr" and len(node.users) == 1


def _refusal(layer: Layer, path: _Path, options: Absorb) -> str | None:
    """The reason why nothing can be moved out of a layer, or None if it can."""
    if layer.computed:
        return layer.computed
    for user in path.end.users:
        if not is_layer(user) or user.args.count(path.end) > 1 or user.args[0] is not path.end:
            return f"its output is read by {user.name} ({user.target}), not by a layer"
        reader = Layer(user, layer.network)
        reason = _reader_refusal(reader, layer.channel_axis)
        if reason is not None:
            return reason
        if not options.borders and (path.is_padded or reader.pads_with_zeros):
            return f"{reader.name} reads it with zeros around it"
    return None


def _reader_refusal(reader: Layer, channel_axis: int) -> str | None:
    if reader.channel_axis != channel_axis:
        return f"{reader.name} has its channels on another axis"
    if reader.is_transposed:
        return f"{reader.name} is transposed: its kernel does not reach all outputs alike"
    return reader.computed and f"{reader.name} cannot take it: {reader.computed}"


def _shift(layer: Layer, path: _Path, readers: list[Layer], c: Float[Tensor, " channels"]) -> None:
    """Shift the bias, the clips and the next bias: b₁ − c, clips − c, b₂ + W₂ c."""
    layer.add_to_bias(-c)
    for node in path.bounds:
        bound = layer.network.tensor(node).detach()
        layer.network.replace_tensor(node, bound - c.reshape(bound.shape))
    for reader in readers:
        weight = reader.grouped_weight()
        added = expected_response(weight, c, weight.new_ones(weight.shape[3:]))
        reader.add_to_bias(added)
