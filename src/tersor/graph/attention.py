"""Where attention mixes positions: softmax(…) · V keeps the channels of V apart."""

import torch
from torch import fx

from tersor.graph.layers import argument, operand
from tersor.graph.network import source

aten = torch.ops.aten
SDPA = aten.scaled_dot_product_attention.default
MATMULS = {aten.matmul.default, aten.bmm.default}
MIXING = {SDPA, *MATMULS}


def mixed_values(node: fx.Node) -> fx.Node | None:
    """V, if each row of this op's result is an average of rows of V: the weights sum to one.

    Args:
        node: A call of one of `MIXING`.
    """
    if node.target is SDPA:
        return None if argument(node, "enable_gqa") else operand(node, 2)
    shares = source(operand(node))
    while shares.target is aten.dropout.default:
        shares = source(operand(shares))
    if shares.target is not aten.softmax.int:
        return None
    last = shares.meta["val"].ndim - 1
    return operand(node, 1) if argument(shares, "dim") % (last + 1) == last else None
