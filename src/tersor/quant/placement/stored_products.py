"""Products with a stored tensor that are no layers: a stack of matrices, Einsum, `W x`.

No integer kernel computes them, but where a good part of the weights lies in them, they can be
stored in 8 bits, as those of recurrent layers are.
"""

from dataclasses import dataclass

import torch
from torch import fx

from tersor.graph.network import Applied, Network, Skipped

aten = torch.ops.aten
_PRODUCTS = frozenset({aten.matmul.default, aten.mm.default, aten.bmm.default})
_EINSUM = aten.einsum.default
_LEAST = 256  # weights: fewer take less space than the nodes that make floats of them
_SHARE = 10  # one part of all stored numbers in so many, at least


@dataclass(frozen=True)
class StoredProduct:
    """One call that multiplies by a stored tensor.

    Attributes:
        node: The call.
        weights: The node that delivers the stored tensor.
        axis: The axis of the outputs in it, or None.
    """

    node: fx.Node
    weights: tuple[fx.Node, ...]
    axis: int | None


def choose_products(network: Network, left_out: set[fx.Node]) -> list[StoredProduct]:
    """Choose the products whose stored tensor becomes integers, and record all that are large.

    Args:
        network: The network, without quantizers.
        left_out: Calls that stay in floating point.
    """
    stored = {
        node.target: network.tensor(node) for node in network.nodes() if node.op == "get_attr"
    }
    least = max(_LEAST, sum(x.numel() for x in stored.values()) // _SHARE)
    found, chosen = stored_products(network), []
    own = {product.node for product in found}
    for product in found:
        (weight,) = product.weights
        count = network.tensor(weight).numel()
        name, reason = str(weight.target), None
        if count < least:
            reason = f"its {count:,} weights are too few to make integers of them worthwhile"
        elif product.node in left_out:
            reason = "excluded by the user"
        elif not set(weight.users) <= own:
            reason = "other calls read it, so an integer copy would only take more space"
        if reason is None:
            what = f"its {count:,} weights are stored in 8 bits; the product computes in float"
            network.records.append(Applied(name, "place", what))
            chosen.append(product)
        else:
            network.records.append(Skipped(name, "place", reason))
    return chosen


def stored_products(network: Network) -> list[StoredProduct]:
    """All products with exactly one stored tensor, in execution order.

    Args:
        network: The network.
    """
    nodes = [n for n in network.nodes() if n.target is _EINSUM or n.target in _PRODUCTS]
    return [product for node in nodes if (product := _product(network, node)) is not None]


def _product(network: Network, node: fx.Node) -> StoredProduct | None:
    factors: list[fx.Node] = list(node.args[1] if node.target is _EINSUM else node.args)  # type: ignore[arg-type]
    places = [place for place, factor in enumerate(factors) if factor.op == "get_attr"]
    if len(factors) != 2 or len(places) != 1:
        return None
    weight, rank = factors[places[0]], network.tensor(factors[places[0]]).ndim
    if rank < 2:
        return None
    if node.target is _EINSUM:
        axis = _axis_of_outputs(str(node.args[0]), places[0])
    else:
        axis = rank - 2 + places[0]  # the rows of a first factor, the columns of a second one
    return StoredProduct(node, (weight,), axis)


def _axis_of_outputs(equation: str, place: int) -> int | None:
    """The last axis of a factor that the result has, too, and the other factor has not."""
    factors, arrow, result = equation.replace(" ", "").partition("->")
    own, other = factors.split(",")[place], factors.split(",")[1 - place]
    kept = [axis for axis, label in enumerate(own) if label in result and label not in other]
    return kept[-1] if arrow and kept and "." not in own else None
