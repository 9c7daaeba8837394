"""Rewrites of an exported ONNX graph that let runtimes use their integer kernels.

Each changes the graph in place and keeps what it computes.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir


def rewrite(graph: ir.Graph) -> None:
    """Apply every rewrite of this file wherever it fits."""
    for node in list(graph):
        if node.op_type == "Transpose":
            _transpose_integers(graph, node)
        elif node.op_type == "Conv":
            _merge_pad(node)
        elif node.op_type == "ReduceMean":
            _pool_globally(graph, node)
    for node in [node for node in graph if node.op_type == "Pad"]:  # those not merged into a Conv
        _pad_integers(graph, node)


def producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """Find the node that computes `value`, if it is of this type."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type else None


def constant(value: ir.Value | None) -> np.ndarray | None:
    """Find the stored tensor behind a value, or None if it is computed."""
    stored = None if value is None else ir.convenience.get_const_tensor(value)
    return None if stored is None else stored.numpy()


def _transpose_integers(graph: ir.Graph, node: ir.Node) -> None:
    """Rewrite `Transpose(DequantizeLinear(w))` of linear layers as `DequantizeLinear(wᵀ)`."""
    read = producer(node.inputs[0], "DequantizeLinear")
    weight = None if read is None else read.inputs[0]
    array = constant(weight)
    if read is None or weight is None or array is None or _has_other_reader(weight):
        return
    order = list(node.attributes.get_ints("perm", list(range(array.ndim))[::-1]))
    weight.const_value = ir.tensor(array.transpose(order), name=weight.name)
    weight.shape = ir.Shape(array.transpose(order).shape)
    axis = read.attributes.get_int("axis", 1)
    if -array.ndim <= axis < array.ndim:  # per-tensor scales ignore it, and 1-d weights have none
        read.attributes["axis"] = ir.AttrInt64("axis", order.index(axis % array.ndim))
    read.outputs[0].shape = weight.shape
    ir.convenience.replace_all_uses_with(node.outputs[0], read.outputs[0])
    graph.remove(node, safe=True)


def _has_other_reader(weight: ir.Value) -> bool:
    readers = list(weight.consumers())
    return len(readers) > 1 or any(len(reader.outputs[0].uses()) > 1 for reader in readers)


def _merge_pad(conv: ir.Node) -> None:
    """Merge `Conv(Pad(x))` into a padded `Conv(x)`, also through quantizers, which preserve 0."""
    chain = [conv]
    while (node := _only_source(chain[-1])) is not None and node.op_type != "Pad":
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            return
        chain.append(node)
    pads = None if node is None else _spatial_pads(node)
    if node is None or pads is None or conv.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return
    reader, x = chain[-1], node.inputs[0]
    before = producer(x, "DequantizeLinear")
    if reader is not conv and before is not None:  # two quantizers in a row must become one
        if _parameters(reader) != _parameters(before):
            return
        reader, x = conv, before.outputs[0]
    old = conv.attributes.get_ints("pads", [0] * len(pads))
    conv.attributes["pads"] = ir.AttrInt64s("pads", [a + b for a, b in zip(old, pads, strict=True)])
    reader.replace_input_with(0, x)
    for link in chain[1:]:
        link.outputs[0].shape = None if x is None else x.shape


def _only_source(reader: ir.Node) -> ir.Node | None:
    """Find the node that computes the first input, if nothing else reads it."""
    value = reader.inputs[0]
    if value is None or len(value.uses()) > 1 or value.is_graph_output():
        return None
    return value.producer()


def _spatial_pads(pad: ir.Node) -> Sequence[int] | None:
    """The pads of the spatial axes, begins then ends; None unless they are zeros all around."""
    pads = constant(pad.inputs[1])
    if len(pad.inputs) > 3 or pads is None or not _fills_zeros(pad) or (pads < 0).any():
        return None
    begins, ends = pads.reshape(2, -1).tolist()
    return None if any(begins[:2] + ends[:2]) else begins[2:] + ends[2:]


def _pad_integers(graph: ir.Graph, pad: ir.Node) -> None:
    """Rewrite `QuantizeLinear(Pad(DequantizeLinear(q)))` as `Pad(q)`, padded with the zero point.

    With one scale and zero point on both sides this is the same, and no floats are written.
    """
    read, value = producer(pad.inputs[0], "DequantizeLinear"), pad.outputs[0]
    writers = [user.node for user in value.uses()]
    if read is None or value.is_graph_output() or len(writers) != 1 or not _fills_zeros(pad):
        return
    (write,) = writers
    same = write.op_type == "QuantizeLinear" and _parameters(read) == _parameters(write)
    if not same or len(read.inputs) < 3 or _parameters(read)[0][1] == b"":
        return
    zero = read.inputs[2]
    padded = ir.node("Pad", [read.inputs[0], pad.inputs[1], zero, *pad.inputs[3:]], name=pad.name)
    graph.insert_before(write, padded)
    padded.outputs[0].name = write.outputs[0].name
    ir.convenience.replace_all_uses_with(
        write.outputs[0], padded.outputs[0], replace_graph_outputs=True
    )
    for old in (write, pad):
        graph.remove(old, safe=True)


def _fills_zeros(pad: ir.Node) -> bool:
    fill = constant(pad.inputs[2]) if len(pad.inputs) > 2 and pad.inputs[2] else np.zeros(())
    is_constant = pad.attributes.get_string("mode", "constant") == "constant"
    return is_constant and fill is not None and not fill.any()


def _parameters(node: ir.Node) -> list[tuple[str, bytes]]:
    values = [constant(value) for value in node.inputs[1:]]
    return [("", b"") if v is None else (str(v.dtype), v.tobytes()) for v in values]


def _pool_globally(graph: ir.Graph, mean: ir.Node) -> None:
    """Write a mean over all spatial axes as GlobalAveragePool, which has integer kernels."""
    x, axes = mean.inputs[0], constant(mean.inputs[1] if len(mean.inputs) > 1 else None)
    rank = 0 if x is None or x.shape is None else len(x.shape)
    if axes is None or rank < 3 or sorted(axes.ravel() % rank) != list(range(2, rank)):
        return
    pool = ir.node("GlobalAveragePool", [x])
    result = pool
    graph.insert_before(mean, pool)
    if not mean.attributes.get_int("keepdims", 1):
        result = ir.node("Squeeze", [pool.outputs[0], mean.inputs[1]])
        graph.insert_before(mean, result)
        pool.outputs[0].shape = ir.Shape([*x.shape[:2], *[1] * (rank - 2)])  # type: ignore[index]
    result.outputs[0].shape = mean.outputs[0].shape
    pool.outputs[0].type = result.outputs[0].type = mean.outputs[0].type
    ir.convenience.replace_all_uses_with(
        mean.outputs[0], result.outputs[0], replace_graph_outputs=True
    )
    result.outputs[0].name = mean.outputs[0].name
    graph.remove(mean, safe=True)
