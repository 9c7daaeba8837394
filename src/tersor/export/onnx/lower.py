"""Lowering: every quantizer of a network becomes integer arithmetic in an ordinary PyTorch graph.

A quantizer on a constant (a weight, a bias, anything computed from stored tensors alone) is
evaluated once by `core.affine.quantize` and stored as integers in front of a `dequantize_linear`.
A quantizer on an activation becomes `quantize_linear` → `dequantize_linear`. The lowered graph
computes what the simulation computes.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from tersor.core.grid import Grid
from tersor.errors import ExportError, UnsupportedError
from tersor.export.onnx import quantize_ops as _ops  # noqa: F401  (defines torch.ops.tersor.*)
from tersor.export.onnx.integer_types import clip_on_integers, container, to_integers
from tersor.export.onnx.signature import free_generated_names, layer_output_names
from tersor.export.onnx.translation.known_values import knows_open_sizes
from tersor.graph.mode import set_training
from tersor.graph.network import Network
from tersor.graph.nodes import operand
from tersor.quant.placement.quantizer import BiasQuantize, FakeQuantize
from tersor.quant.placement.row_ranges import RowQuantize
from tersor.quant.shared_copy import shared_copy

aten = torch.ops.aten


@dataclass
class Lowered:
    """A network without quantizers, ready for `torch.onnx.export`.

    Attributes:
        network: A copy whose quantizers are `quantize_linear` and `dequantize_linear` calls.
        grids: Name of a stored integer tensor → its grid.
        folded: Names of those that no kernel computes with.
        names: Call of a layer → readable name of its output, `conv1.output`.
        constants: All nodes that do not depend on the input.
        readers: Name of a stored tensor → number of nodes that fetch it.
        integer_clip: Whether a clip in front of a quantizer moves onto the integers after it.
    """

    network: Network
    grids: dict[str, Grid] = field(default_factory=dict)
    folded: set[str] = field(default_factory=set)
    names: dict[fx.Node, str] = field(default_factory=dict)
    constants: set[fx.Node] = field(default_factory=set)
    readers: Counter[str] = field(default_factory=Counter)
    integer_clip: bool = True


def lower(network: Network, integer_clip: bool = True) -> Lowered:
    """Replace every quantizer by integer arithmetic in a copy of the network.

    Args:
        network: A network with or without quantizers, in training or inference mode.
        integer_clip: See `tersor.quant.scheme.Scheme`.

    Returns:
        The lowered copy, in inference mode.

    Raises:
        ExportError: A module in the graph is not a quantizer.
        UnsupportedError: A grid has no ONNX type, for instance an activation of 20 bits.
    """
    # torch lays out the output of an attention differently if its mask can be trained.
    lowered = Lowered(shared_copy(network, trainable=False), integer_clip=integer_clip)
    set_training(lowered.network, False)
    free_generated_names(lowered.network)
    lowered.names = layer_output_names(lowered.network)
    fetched = lowered.network.graph.find_nodes(op="get_attr")
    lowered.readers.update(str(node.target) for node in fetched)
    is_sized = knows_open_sizes(lowered.network.graph)
    with torch.no_grad():
        for node in lowered.network.nodes():
            if node.op == "call_module":
                replacement = _lower_node(lowered, node)
                known = node.meta.get("val", node.all_input_nodes[0].meta.get("val"))
                if is_sized and known is not None:  # its size and type are the same
                    replacement.meta.setdefault("val", known)
                node.replace_all_uses_with(replacement)
                lowered.network.graph.erase_node(node)
            elif not _look_up_integers(node) and _is_constant(lowered, node):
                lowered.constants.add(node)
    lowered.network.finish()
    return lowered


def _lower_node(lowered: Lowered, node: fx.Node) -> fx.Node:
    module = lowered.network.module.get_submodule(str(node.target))
    source: Any = node.args[0]
    if isinstance(module, RowQuantize):
        raise UnsupportedError(
            f"the rows of {source.name!r} have ranges that are found when they are there, for "
            "which ONNX has no op; write a .pte file, or quantize with another scheme"
        )
    if not isinstance(module, BiasQuantize | FakeQuantize):
        raise ExportError(
            f"node {node.name!r} calls a {type(module).__name__}, which has no ONNX form; only "
            "quantizers may be modules in a network"
        )
    if not module.enabled:
        return source
    if isinstance(module, BiasQuantize):
        return _lower_bias(lowered, node, module)
    if module.scale.dtype != torch.float32:
        raise UnsupportedError(
            f"the quantizer {node.name!r} is {module.scale.dtype}; ONNX quantizes float32 values, "
            "so convert the model with model.float() first"
        )
    if source not in lowered.constants:
        return _lower_activation(lowered, node, module)
    read = _store(lowered, node, module.scale, module.zero_point, module.grid, module.axis)
    if module.stored_only:
        lowered.folded.add(str(operand(read).target))
    return read


def _lower_bias(lowered: Lowered, node: fx.Node, module: BiasQuantize) -> fx.Node:
    """Lower the quantizer of a bias, whose scale is that of the accumulator."""
    if not lowered.constants.issuperset(node.all_input_nodes):
        raise UnsupportedError(
            f"the bias quantizer {node.name!r} reads a value that depends on the input; a bias "
            "and its two scales must be stored tensors"
        )
    input_scale, weight_scale = (_value(lowered, scale) for scale in node.all_input_nodes[1:])
    scale = module.step(input_scale, weight_scale)
    axis = 0 if scale.ndim else None
    return _store(lowered, node, scale, torch.zeros_like(scale), Grid(32, signed=True), axis)


def _store(
    lowered: Lowered,
    node: fx.Node,
    scale: Tensor,
    zero_point: Tensor,
    grid: Grid,
    axis: int | None,
) -> fx.Node:
    """Store a constant as integers and return the node that reads it back as real numbers."""
    network, source = lowered.network, node.args[0]
    assert isinstance(source, fx.Node)
    integers, scale, offset = to_integers(_value(lowered, source), scale, zero_point, grid, axis)
    q = network.add_tensor(_release(lowered, source), integers, before=node)
    lowered.grids[str(q.target)] = grid
    step = network.add_tensor(f"{q.target}_scale", scale.detach().clone(), before=node)
    zero = None
    if offset is not None:
        zero = network.add_tensor(f"{q.target}_zero_point", offset, before=node)
    result = _call(node, torch.ops.tersor.dequantize_linear.default, q, step, zero, axis)
    lowered.constants.update(new for new in (q, step, zero, result) if new is not None)
    return result


def _lower_activation(lowered: Lowered, node: fx.Node, module: FakeQuantize) -> fx.Node:
    network, grid, axis = lowered.network, module.grid, module.axis
    if grid.container > 16:
        raise UnsupportedError(
            f"the activation quantizer {node.name!r} has {grid.bits} bits; ONNX QuantizeLinear "
            "writes at most 16"
        )
    source, limits = node.args[0], (grid.qmin, grid.qmax)
    if lowered.integer_clip:
        source, limits = _absorb_clip(node, module)
    assert isinstance(source, fx.Node)
    again = source.target is torch.ops.tersor.dequantize_linear.default
    name = str(node.target).rpartition(".")[2] if again else lowered.names.get(source, source.name)
    scale = network.add_tensor(f"{name}_scale", module.scale.detach().clone(), before=node)
    zero_point = module.zero_point.to(container(grid))
    zero = network.add_tensor(f"{name}_zero_point", zero_point, before=node)
    q = _call(node, torch.ops.tersor.quantize_linear.default, source, scale, zero, axis)
    q = _clamp(node, q, limits, zero_point.dtype)
    return _call(node, torch.ops.tersor.dequantize_linear.default, q, scale, zero, axis)


def _look_up_integers(node: fx.Node) -> bool:
    """Look rows up as integers and convert only these to float, instead of the whole table."""
    if node.target is not aten.embedding.default:
        return False
    read = node.args[0]
    assert isinstance(read, fx.Node)
    if read.target is not torch.ops.tersor.dequantize_linear.default or read.args[3] == 0:
        return False
    table, scale, zero_point, axis = read.args
    rows = _call(node, aten.embedding.default, table, *node.args[1:], **node.kwargs)
    axis = None if axis is None else node.meta["val"].ndim - 1
    floats = _call(node, read.target, rows, scale, zero_point, axis)
    node.replace_all_uses_with(floats)
    node.graph.erase_node(node)
    return True


def _absorb_clip(node: fx.Node, module: FakeQuantize) -> tuple[fx.Node, tuple[int, int]]:
    """Find the node to quantize, and the integers that it may become.

    Between two quantizers a clip stays: onnxruntime would merge them into one, which is not exact.
    """
    source, grid = node.args[0], module.grid
    assert isinstance(source, fx.Node)
    limits = None if _is_quantized(source) else clip_on_integers(source, module)
    if limits is None:
        return source, (grid.qmin, grid.qmax)
    return source.args[0], limits  # type: ignore[return-value]


def _is_quantized(node: fx.Node) -> bool:
    """True if the node reads values that a quantizer wrote."""
    before = node.args[0] if node.args else None
    return (
        isinstance(before, fx.Node) and before.target is torch.ops.tersor.dequantize_linear.default
    )


def _clamp(before: fx.Node, q: fx.Node, limits: tuple[int, int], dtype: torch.dtype) -> fx.Node:
    """Clip integers to narrower limits than those of the dtype, to which QuantizeLinear clamps.

    16-bit integers go through int32, for which runtimes have a Clip.
    """
    whole = torch.iinfo(dtype)
    if limits == (whole.min, whole.max):
        return q
    if whole.bits == 8:
        return _call(before, aten.clamp.default, q, *limits)
    wide = _call(before, aten._to_copy.default, q, dtype=torch.int32)
    wide = _call(before, aten.clamp.default, wide, *limits)
    return _call(before, aten._to_copy.default, wide, dtype=dtype)


def _call(before: fx.Node, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
    with before.graph.inserting_before(before):
        return before.graph.call_function(target, args, kwargs)


def _release(lowered: Lowered, node: fx.Node) -> str:
    """Free the name of a constant for its integers, if nothing else reads the float tensor."""
    if node.op != "get_attr":
        return node.name
    name = str(node.target)
    if lowered.readers[name] == 1 and len(node.users) == 1:
        path, _, leaf = name.rpartition(".")
        delattr(lowered.network.module.get_submodule(path), leaf)
    return name


def _is_constant(lowered: Lowered, node: fx.Node) -> bool:
    """Whether a node depends on stored tensors only."""
    if node.op == "get_attr":
        return True
    is_random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    known = lowered.constants.issuperset(node.all_input_nodes)
    return node.op == "call_function" and known and not is_random


def _value(lowered: Lowered, node: fx.Node) -> Any:
    """Compute a constant. Nothing is kept: its floats may be as large as those of all others."""
    values: dict[fx.Node, Any] = {}
    wanted = [node]
    while wanted:
        last = wanted[-1]
        missing = [read for read in last.all_input_nodes if read not in values]
        if last.op == "get_attr":
            values[wanted.pop()] = lowered.network.tensor(last).detach()
        elif missing:
            wanted += missing
        else:
            args, kwargs = fx.map_arg((last.args, last.kwargs), values.__getitem__)
            values[wanted.pop()] = last.target(*args, **kwargs)  # type: ignore[operator]
    return values[node]
