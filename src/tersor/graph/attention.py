"""Attention mixes positions: softmax(…) · V keeps the channels of V apart."""

import math

import torch
from torch import fx

from tersor.graph.nodes import argument, insert_call, operand, source
from tersor.graph.ops import MATMULS

aten = torch.ops.aten
SDPA = aten.scaled_dot_product_attention.default
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


def write_out_attention(graph: fx.Graph) -> None:
    """Write out fused attention as softmax(Q Kᵀ / √d) · V, unless it has four axes.

    torch's ONNX exporter supports the fused op with four axes only.

    Args:
        graph: Edited in place; what it computes is unchanged.
    """
    for node in graph.find_nodes(op="call_function", target=SDPA):
        query, key, values = (operand(node, i) for i in range(3))
        options = [argument(node, name) for name in ("is_causal", "enable_gqa", "dropout_p")]
        mask, scale = argument(node, "attn_mask"), argument(node, "scale")
        is_added = mask is None or mask.meta["val"].is_floating_point()
        if query.meta["val"].ndim == 4 or any(options) or not is_added:
            continue
        size = query.meta["val"].shape[-1]
        with graph.inserting_before(node):
            turned = insert_call(aten.transpose.int, key, -2, -1)
            scores = insert_call(aten.matmul.default, query, turned)
            factor = 1 / math.sqrt(size) if scale is None else scale
            scores = insert_call(aten.mul.Tensor, scores, factor)
            scores = scores if mask is None else insert_call(aten.add.Tensor, scores, mask)
            shares = insert_call(aten.softmax.int, scores, -1)
            node.replace_all_uses_with(insert_call(aten.matmul.default, shares, values))
        graph.erase_node(node)
