"""Tidying an exported ONNX graph: fewer nodes, names a person can read, nothing of this machine.

Each step rewrites the graph in place and keeps what it computes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import Sequential
from onnx_ir.passes import common as passes

from tersor.core.grid import Grid

#: ONNX ops of convolution and linear layers → the position of their weight.
WEIGHTED = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}


def tidy(
    model: ir.Model, int4: Mapping[str, Grid], inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    """Merge, pack, name and strip.

    Args:
        model: The model; changed in place.
        int4: Names of integer initializers → their grids; those of up to 4 bits become INT4.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
    """
    for node in list(model.graph):
        if node.op_type == "Transpose":
            _transpose_integers(model.graph, node)
        elif node.op_type == "Conv":
            _merge_pad(node)
        elif node.op_type == "ReduceMean":
            _pool_globally(model.graph, node)
    _own_zero_points(model.graph)
    _store_int4(model.graph, int4)
    Sequential(
        passes.IdentityEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.OutputFixPass(),
        passes.ClearMetadataAndDocStringPass(),
    )(model)
    _name_nodes(model.graph)
    _name_axes(model)
    _rename(model.graph.inputs, inputs)
    _rename(model.graph.outputs, outputs)
    for value in (*model.graph.inputs, *model.graph.initializers.values(), *model.graph.outputs):
        value.metadata_props.clear()
    model.graph.name = "tersor"


def producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node that computes `value`, if it is of this type."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type else None


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The stored tensor behind a value, or None if it is computed."""
    stored = None if value is None else ir.convenience.get_const_tensor(value)
    return None if stored is None else stored.numpy()


# --- transposed weights -------------------------------------------------------------------------


def _transpose_integers(graph: ir.Graph, node: ir.Node) -> None:
    """`Transpose(DequantizeLinear(w))` → `DequantizeLinear(wᵀ)`, as linear layers have it."""
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


# --- padding ------------------------------------------------------------------------------------


def _merge_pad(conv: ir.Node) -> None:
    """`Conv(Pad(x))` → `Conv(x)` with asymmetric pads; also through quantizers, which keep 0."""
    reader, chain = conv, []
    while True:
        value = reader.inputs[0]
        node = None if value is None else value.producer()
        if node is None or value is None or len(value.uses()) > 1 or value.is_graph_output():
            return
        if node.op_type == "Pad":
            break
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            return
        chain.append(node)
        reader = node
    pads = _spatial_pads(node)
    if pads is None or conv.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return
    old = conv.attributes.get_ints("pads", [0] * len(pads))
    conv.attributes["pads"] = ir.AttrInt64s("pads", [a + b for a, b in zip(old, pads, strict=True)])
    reader.replace_input_with(0, node.inputs[0])
    for link in chain:
        link.outputs[0].shape = None if node.inputs[0] is None else node.inputs[0].shape
    _drop_repeated_quantizer(chain)


def _spatial_pads(pad: ir.Node) -> Sequence[int] | None:
    """The pads of the spatial axes, begins then ends; None unless they are zeros all around."""
    if pad.attributes.get_string("mode", "constant") != "constant" or len(pad.inputs) > 3:
        return None
    pads = constant(pad.inputs[1])
    fill = constant(pad.inputs[2]) if len(pad.inputs) == 3 and pad.inputs[2] else np.zeros(())
    if pads is None or fill is None or fill.any() or (pads < 0).any():
        return None
    begins, ends = pads.reshape(2, -1).tolist()
    return None if any(begins[:2] + ends[:2]) else begins[2:] + ends[2:]


def _drop_repeated_quantizer(chain: list[ir.Node]) -> None:
    """`x → Q → DQ → Q → DQ` with the same scale both times is `x → Q → DQ`."""
    if len(chain) < 2:
        return
    quantize, before = chain[-1], producer(chain[-1].inputs[0], "DequantizeLinear")
    if before is not None and _parameters(quantize) == _parameters(before):
        ir.convenience.replace_all_uses_with(chain[-2].outputs[0], before.outputs[0])


def _parameters(node: ir.Node) -> list[tuple[str, bytes]]:
    values = [constant(value) for value in node.inputs[1:]]
    return [("", b"") if v is None else (str(v.dtype), v.tobytes()) for v in values]


# --- pooling ------------------------------------------------------------------------------------


def _pool_globally(graph: ir.Graph, mean: ir.Node) -> None:
    """The mean over all spatial axes as GlobalAveragePool, which has integer kernels."""
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


# --- storage and names --------------------------------------------------------------------------


def _store_int4(graph: ir.Graph, grids: Mapping[str, Grid]) -> None:
    for name, grid in grids.items():
        value = graph.initializers.get(name)
        if value is None or grid.bits > 4:
            continue
        dtype = ir.DataType.INT4 if grid.signed else ir.DataType.UINT4
        readers = [user.node for user in value.uses()]
        zero_points = [r.inputs[2] for r in readers if len(r.inputs) > 2 and r.inputs[2]]
        for stored in {value, *zero_points}:
            assert stored.const_value is not None
            array = stored.const_value.numpy().astype(dtype.numpy())
            stored.const_value = ir.Tensor(array, dtype=dtype, name=stored.name)
            stored.dtype = dtype


def stored_weight(node: ir.Node, position: int) -> ir.Value | None:
    """The initializer that a node reads as its weight, seen through DequantizeLinear."""
    value = node.inputs[position]
    read = producer(value, "DequantizeLinear")
    value = value if read is None else read.inputs[0]
    return value if value is not None and value.is_initializer() else None


def _name_nodes(graph: ir.Graph) -> None:
    """Give weighted nodes the user's name of the layer, which is the name of its weight."""
    taken: set[str] = set()
    for node in graph:
        name = str(node.name).removeprefix("node_")
        position = WEIGHTED.get(node.op_type)
        weight = None if position is None else stored_weight(node, position)
        if weight is not None:
            name = str(weight.name).removesuffix(".weight")
        node.name, number = name, 2
        while node.name in taken:
            node.name, number = f"{name}_{number}", number + 1
        taken.add(node.name)


def _own_zero_points(graph: ir.Graph) -> None:
    """Give every stored tensor, and every scale of an activation, a zero point of its own.

    Equal zero points arrive merged into one. onnxruntime 1.32 cannot convert a weight whose zero
    point another weight shares (`session.x64quantprecision=1`: "Attempt to replace the existing
    tensor").
    """
    for node in graph:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.inputs) < 3:
            continue
        tensor, scale, shared = node.inputs
        stored = tensor is not None and tensor.is_initializer()
        owner = str((tensor if stored else scale).name)  # type: ignore[union-attr]
        name = f"{owner if stored else owner.removesuffix('_scale')}_zero_point"
        if shared is not None and shared.name != name and shared.const_value is not None:
            own = graph.initializers.get(name)
            if own is None:
                own = ir.val(name, const_value=ir.tensor(shared.const_value.numpy(), name=name))
                graph.register_initializer(own)
            node.replace_input_with(2, own)


def _rename(values: Sequence[ir.Value], names: Sequence[str]) -> None:
    for value, name in zip(values, names, strict=True):
        value.name = name


def _name_axes(model: ir.Model) -> None:
    """Call the free first axis of the inputs `batch` instead of `s77`."""
    names: dict[str, str] = {}
    for value in model.graph.inputs:
        first = value.shape[0] if value.shape else None
        if isinstance(first, ir.SymbolicDim) and first.value and first.value not in names:
            names[first.value] = f"batch_{len(names)}" if names else "batch"
    for node in model.graph:
        for value in node.outputs:
            _rename_axes(value, names)
    for value in model.graph.inputs:
        _rename_axes(value, names)


def _rename_axes(value: ir.Value, names: Mapping[str, str]) -> None:
    if value.shape is not None:
        value.shape = ir.Shape(
            names.get(str(axis.value), axis) if isinstance(axis, ir.SymbolicDim) else axis
            for axis in value.shape
        )
