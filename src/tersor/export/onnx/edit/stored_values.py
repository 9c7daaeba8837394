"""Stored values of the network: as they are in the file, as changed floats, or as integers."""

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, fx

from tersor.core.grid import Grid
from tersor.errors import UnsupportedError
from tersor.export.onnx.edit.draft import Draft, stored
from tersor.export.onnx.integer_types import to_integers
from tersor.graph.footprint import checksum, stored_reference
from tersor.graph.nodes import call, source
from tersor.quant.placement.quantizer import BiasQuantize, FakeQuantize


def constant(draft: Draft, node: fx.Node) -> Tensor | None:
    """The value of a node that depends on stored values only; None for any other."""
    if node.op == "get_attr":
        return draft.network.tensor(node).detach()
    if node in draft.computed:
        return None
    if node not in draft.constants:
        draft.constants[node] = _computed(draft, node)
    return draft.constants[node]


def _computed(draft: Draft, node: fx.Node) -> Tensor | None:
    is_random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    if node.op != "call_function" or is_random or not node.all_input_nodes:
        return None
    parts: dict[fx.Node, Tensor] = {}
    for part in node.all_input_nodes:
        value = constant(draft, part)
        if value is None:
            return None
        parts[part] = value
    args, kwargs = fx.map_arg((node.args, node.kwargs), parts.__getitem__)
    with torch.no_grad():
        return call(node, args, kwargs)


def is_as_read(draft: Draft, node: fx.Node) -> bool:
    """Whether a stored value is still that of the file."""
    target, tensor = str(node.target), draft.network.tensor(node).detach()
    if target in draft.origin.checksums:
        return checksum(tensor) == draft.origin.checksums[target]
    home = draft.homes.get(stored_reference(target))
    known = None if home is None else ir.convenience.get_const_tensor(home)
    return known is not None and np.array_equal(known.numpy(), tensor.cpu().numpy())


def store_float(draft: Draft, tensor: Tensor, name: str, turned: bool = False) -> ir.Value:
    """Store a float under a name, or a similar one if that is taken."""
    array = tensor.cpu().numpy()
    value = stored(np.ascontiguousarray(array.T) if turned else array)
    draft.wish(name, (value, ""))
    return value


def store_integers(
    draft: Draft, node: fx.Node, name: str, turned: bool = False
) -> tuple[ir.Value, ir.Value, ir.Value | None, int | None]:
    """Store what a quantizer makes of a stored value: integers, scale, zero point, and axis.

    Args:
        draft: The file under construction.
        node: The quantizer.
        name: The name of the integers.
        turned: Whether the file has the value with its two axes exchanged.
    """
    module = draft.network.module.get_submodule(str(node.target))
    values = [constant(draft, part) for part in node.all_input_nodes]
    if any(value is None for value in values):
        raise UnsupportedError(
            f"the quantizer {node.name!r} reads a value that depends on the input; a bias and its "
            "two scales must be stored tensors"
        )
    number, *scales = [value for value in values if value is not None]
    if isinstance(module, BiasQuantize):
        scale, grid = module.step(*scales), Grid(32, signed=True)
        zero_point, axis = torch.zeros_like(scale), 0 if scale.ndim else None
    else:
        assert isinstance(module, FakeQuantize)
        scale, zero_point, grid, axis = module.scale, module.zero_point, module.grid, module.axis
    integers, scale, offset = to_integers(number, scale, zero_point, grid, axis)
    array = integers.detach().cpu().numpy()
    axis = axis if axis is None or not turned else 1 - axis % 2
    main = stored(np.ascontiguousarray(array.T) if turned else array)
    step = stored(scale.detach().cpu().numpy())
    zero = None if offset is None else stored(offset.detach().cpu().numpy())
    draft.grids[main] = grid
    if isinstance(module, FakeQuantize) and module.stored_only:
        draft.folded.add(main)
    beside = [(step, "_scale")] + ([] if zero is None else [(zero, "_zero_point")])
    draft.wish(name, (main, ""), *beside)
    return main, step, zero, axis


def dequantized(main: ir.Value, step: ir.Value, zero: ir.Value | None, axis: int | None) -> ir.Node:
    """A DequantizeLinear node; its name and that of its result come later."""
    inputs = [main, step] if zero is None else [main, step, zero]
    attributes = {} if axis is None or not step.shape else {"axis": axis}
    return ir.node("DequantizeLinear", inputs, attributes)


def matters(draft: Draft, bias: fx.Node) -> bool:
    """Whether a bias, or what its quantizer reads, is not zero everywhere."""
    value = constant(draft, source(bias))
    return value is None or bool(value.any())
