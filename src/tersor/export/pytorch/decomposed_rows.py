"""Rows with ranges of their own, in PyTorch's form: the ranges are chosen by a call.

    choose_qparams_per_token → quantize_per_token → dequantize_per_token → linear

Ops: torch/ao/quantization/fx/_decomposed.py.
"""

import operator

import torch
import torch.ao.quantization.fx._decomposed  # defines torch.ops.quantized_decomposed
from torch import fx

from tersor.errors import UnsupportedError
from tersor.graph.network import Network
from tersor.graph.nodes import operand
from tersor.quant.placement.quantizer import module_at
from tersor.quant.placement.row_ranges import RowQuantize
from tersor.quant.shared_copy import shared_copy

ops = torch.ops.quantized_decomposed

DEQUANTIZE_ROWS = ops.dequantize_per_token.default
_BITS = 8


def decomposed_rows(network: Network) -> Network:
    """Copy a network, with `quantized_decomposed` calls where rows are rounded.

    Args:
        network: A network; it is returned as it is if no rows are rounded.

    Raises:
        UnsupportedError: Rows are rounded to another grid than int8.
    """
    if not any(isinstance(module, RowQuantize) for module in network.module.modules()):
        return network
    found = shared_copy(network, trainable=False)
    for node in found.nodes():
        module = module_at(found, node, RowQuantize)
        if module is not None:
            _decompose(node, module)
    found.finish()
    return found


def _decompose(node: fx.Node, module: RowQuantize) -> None:
    grid = module.grid
    if not grid.signed or grid.symmetric or grid.bits != _BITS:
        raise UnsupportedError(
            f"the rows of {operand(node).name!r} are rounded to {grid}; the kernels that find the "
            "ranges of rows take int8 with a zero point, so quantize with "
            "scheme='executorch-dynamic'"
        )
    graph, value = node.graph, operand(node)
    with graph.inserting_before(node):
        chosen = graph.call_function(
            ops.choose_qparams_per_token_asymmetric.default, (value, torch.int8)
        )
        ends = [graph.call_function(operator.getitem, (chosen, place)) for place in (0, 1)]
        limits = (*ends, grid.qmin, grid.qmax, torch.int8)
        whole = graph.call_function(ops.quantize_per_token.default, (value, *limits))
        floats = graph.call_function(DEQUANTIZE_ROWS, (whole, *limits, node.meta["val"].dtype))
    floats.meta = dict(node.meta)
    node.replace_all_uses_with(floats)
    graph.erase_node(node)
