"""Makes conversions between types explicit: ONNX ops take values of one type."""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.onnx._internal.fx.passes import type_promotion


def promote(graph: fx.Graph) -> None:
    """Insert a conversion wherever PyTorch converts a value by itself.

    Args:
        graph: Edited in place; its nodes have values.
    """
    table = type_promotion.TypePromotionTable()
    if any(_converts(node, table) for node in graph.nodes):  # the pass runs every call
        type_promotion.InsertTypePromotion(fx.GraphModule(nn.Module(), graph)).run()


def _converts(node: fx.Node, table: type_promotion.TypePromotionTable) -> bool:
    rule = type_promotion.get_type_promotion_rule(node, table)
    if rule is None:
        return False
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda part: part.meta["val"])
    found = rule.preview_type_promotion(args, kwargs)
    wanted = {**dict(enumerate(args)), **kwargs}
    types = {**found.args_dtypes, **found.kwargs_dtypes}
    return any(_type_of(wanted[key]) not in (None, dtype) for key, dtype in types.items())


def _type_of(value: Any) -> torch.dtype | None:
    """The type of a computed value; None for a number that is fixed."""
    if isinstance(value, Tensor):
        return value.dtype
    if isinstance(value, torch.SymInt):
        return torch.int64
    return torch.float32 if isinstance(value, torch.SymFloat) else None
