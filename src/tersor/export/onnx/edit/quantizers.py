"""Quantizers of the network become QuantizeLinear and DequantizeLinear nodes."""

import numpy as np
import onnx_ir as ir
import torch
from torch import fx

from tersor.errors import UnsupportedError
from tersor.export.onnx.edit.draft import Draft, stored
from tersor.export.onnx.integer_types import clip_on_integers, container
from tersor.quant.placement.quantizer import FakeQuantize


def is_quantizer(draft: Draft, node: fx.Node) -> bool:
    """Whether a node rounds its value."""
    return node.op == "call_module" and bool(
        draft.network.module.get_submodule(str(node.target)).enabled
    )


def to_quantize(draft: Draft, node: fx.Node) -> tuple[fx.Node, tuple[int, int]]:
    """Find the value that a quantizer of an activation rounds, and the integers that it may become.

    A ReLU or clip in front of it moves onto the integers. Between two quantizers it stays:
    onnxruntime would merge them into one, which is not exact.
    """
    module, source = _module(draft, node), node.args[0]
    assert isinstance(source, fx.Node)
    limits = None
    if draft.integer_clip and source.op == "call_function":
        before = source.args[0]
        if isinstance(before, fx.Node) and before in draft.values and before.op != "call_module":
            limits = clip_on_integers(source, module)
    if limits is None:
        return source, (module.grid.qmin, module.grid.qmax)
    return source.args[0], limits  # type: ignore[return-value]


def quantized(
    draft: Draft, node: fx.Node, value: ir.Value, limits: tuple[int, int], rank: int
) -> ir.Value:
    """Insert the nodes that round a value, right behind the node that computes it.

    Args:
        draft: The file under construction.
        node: The quantizer.
        value: The value that it rounds.
        limits: The integers that it may become.
        rank: Number of axes of the value.
    """
    module, name = _module(draft, node), str(value.name)
    if module.grid.container > 16:
        raise UnsupportedError(
            f"the activation quantizer {node.name!r} has {module.grid.bits} bits; ONNX "
            "QuantizeLinear writes at most 16"
        )
    if module.scale.dtype != torch.float32:
        raise UnsupportedError(
            f"the quantizer {node.name!r} is {module.scale.dtype}; ONNX quantizes float32 values, "
            "so convert the model with model.float() first"
        )
    scale, zero = _parameters(draft, str(node.target), module, name)
    attributes = {} if module.axis is None or not module.scale.ndim else {"axis": module.axis}
    write = ir.node("QuantizeLinear", [value, scale, zero], attributes)
    clips = _clip(draft, write.outputs[0], limits, container(module.grid))
    whole = clips[-1].outputs[0] if clips else write.outputs[0]
    read = ir.node("DequantizeLinear", [whole, scale, zero], attributes)
    draft.insert_behind(value, [write, *clips, read])
    write.name, read.name = f"{name}_QuantizeLinear", f"{name}_DequantizeLinear"
    draft.wish(f"{name}_quantized", (write.outputs[0], ""))
    draft.wish(f"{name}_dequantized", (read.outputs[0], ""))
    for step in (*clips, read):
        step.outputs[0].shape = ir.Shape([None] * rank)
    return read.outputs[0]


def _module(draft: Draft, node: fx.Node) -> FakeQuantize:
    module = draft.network.module.get_submodule(str(node.target))
    assert isinstance(module, FakeQuantize)
    return module


def _parameters(
    draft: Draft, target: str, module: FakeQuantize, name: str
) -> tuple[ir.Value, ir.Value]:
    """Scale and zero point; a quantizer that is used at several places has them once."""
    if target not in draft.parameters:
        scale = stored(module.scale.detach().cpu().numpy())
        zero = stored(module.zero_point.to(container(module.grid)).detach().cpu().numpy())
        draft.wish(name, (scale, "_scale"), (zero, "_zero_point"))
        draft.parameters[target] = scale, zero
    return draft.parameters[target]


def _clip(
    draft: Draft, integers: ir.Value, limits: tuple[int, int], dtype: torch.dtype
) -> list[ir.Node]:
    """Clip integers to narrower limits than those of their type, to which QuantizeLinear clamps.

    16-bit integers go through int32, for which runtimes have a Clip.
    """
    whole = torch.iinfo(dtype)
    if limits == (whole.min, whole.max):
        return []
    is_wide = whole.bits > 8
    numbers = torch.int32 if is_wide else dtype
    ends = [stored(torch.tensor(limit, dtype=numbers).numpy()) for limit in limits]
    for end in ends:
        draft.wish("clip", (end, f"_{int(np.asarray(end.const_value))}"))  # type: ignore[arg-type]
    nodes: list[ir.Node] = []
    if is_wide:
        nodes.append(ir.node("Cast", [integers], {"to": ir.DataType.INT32}))
        integers = nodes[-1].outputs[0]
    nodes.append(ir.node("Clip", [integers, *ends]))
    if is_wide:
        kind = ir.DataType.from_numpy(torch.empty(0, dtype=dtype).numpy().dtype)
        nodes.append(ir.node("Cast", [nodes[-1].outputs[0]], {"to": kind}))
    return nodes
