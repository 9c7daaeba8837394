"""Brings files of opsets 1 to 6 to opset 7, from which onnx's own converter takes them on.

Until opset 6, what is added to a tensor was laid over its axes by two attributes, `broadcast` and
`axis`; shapes were attributes; and nodes said whether they are a test. The converter of onnx needs
all sizes for that. Here the number of axes does, which the weights and the nodes tell.
"""

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from tersor.errors import UnsupportedError
from tersor.frontend.onnx.free_names import FreeNames

#: The first opset whose nodes lie over each other as in NumPy.
FIRST_BROADCAST = 7
_BINARY = frozenset(
    {"Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor"}
)
#: Nodes whose result has as many axes as their first input.
_SAME_RANK = _BINARY | frozenset(
    {
        *("Abs", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip"),
        *("Concat", "Conv", "ConvTranspose", "DepthToSpace", "Dropout", "Elu"),
        *("Exp", "Floor", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "HardSigmoid"),
        *("Hardmax", "Identity", "InstanceNormalization", "LRN", "LeakyRelu", "Log"),
        *("LogSoftmax", "LpNormalization", "LpPool", "Max", "MaxPool", "Mean"),
        *("Min", "Neg", "Not", "PRelu", "Pad", "Reciprocal"),
        *("Relu", "Selu", "Sigmoid", "Slice", "Softmax", "Softplus"),
        *("Softsign", "SpaceToDepth", "Split", "Sqrt", "Sum", "Tanh"),
        *("ThresholdedRelu", "Tile", "Transpose", "Upsample"),
    }
)
_GONE = ("consumed_inputs", "is_test", "broadcast")


def to_first_broadcast(model: ir.Model) -> None:
    """Convert a file of an opset before 7 to opset 7.

    Args:
        model: The file; edited in place. Sub-graphs, which came later, are left as they are.

    Raises:
        UnsupportedError: A node is in training mode, or its meaning needs sizes that are unknown.
    """
    ranks, names = _ranks(model.graph), FreeNames(model.graph)
    for node in list(model.graph):
        if node.domain in ("", "ai.onnx"):
            change = _CHANGES.get(node.op_type)
            if change is not None:
                change(names, node, ranks)
            for name in _GONE:
                node.attributes.pop(name, None)
    model.opset_imports["" if "" in model.opset_imports else "ai.onnx"] = FIRST_BROADCAST


_Ranks = dict[ir.Value, int]


def _ranks(graph: ir.Graph) -> _Ranks:
    """The number of axes of every value for which the file tells it."""
    known: _Ranks = {}
    for value in (*graph.inputs, *graph.initializers.values()):
        stored = value.const_value
        shape = value.shape if stored is None else stored.shape
        if shape is not None:
            known[value] = len(shape)
    for node in graph:
        rank = _rank(node, known)
        for value in node.outputs:
            if value.shape is not None:
                known[value] = len(value.shape)
            elif rank is not None:
                known[value] = rank
    return known


def _rank(node: ir.Node, known: _Ranks) -> int | None:
    """The number of axes of the result of a node."""
    first = node.inputs[0] if node.inputs else None
    if node.op_type in ("Gemm", "Flatten"):
        return 2
    if node.op_type in ("Conv", "ConvTranspose") and node.inputs[1] in known:
        return known[node.inputs[1]]  # type: ignore[index]
    if node.op_type == "Constant" and "value" in node.attributes:
        return len(node.attributes["value"].as_tensor().shape)
    if node.op_type == "Reshape":
        sizes = _asked(node)
        return None if sizes is None else len(sizes)
    return known.get(first) if first is not None and node.op_type in _SAME_RANK else None


def _asked(node: ir.Node) -> list[int] | None:
    """The sizes that a Reshape asks for, as far as they are stored."""
    if "shape" in node.attributes:
        return list(node.attributes["shape"].as_ints())
    value = node.inputs[1] if len(node.inputs) > 1 else None
    stored = None if value is None else ir.convenience.get_const_tensor(value)
    return None if stored is None else stored.numpy().ravel().tolist()


def _broadcast(names: FreeNames, node: ir.Node, ranks: _Ranks) -> None:
    """Give the second operand the axes that the attribute `axis` left out behind it."""
    axis = node.attributes.get_int("axis", None)
    node.attributes.pop("axis", None)
    if axis is None or not node.attributes.get_int("broadcast", 0):
        return
    _lay_over(names, node, 1, axis, ranks)


def _slope(names: FreeNames, node: ir.Node, ranks: _Ranks) -> None:
    """One slope for each channel, which is the second axis."""
    stored = _stored(node, 1)
    if stored is not None and stored.size == 1:
        return
    _lay_over(names, node, 1, 1, ranks)


def _lay_over(names: FreeNames, node: ir.Node, place: int, axis: int, ranks: _Ranks) -> None:
    first, value = node.inputs[0], node.inputs[place]
    assert first is not None
    assert value is not None
    if first not in ranks or value not in ranks:
        raise _refused(node, "counts axes, and the file does not tell how many its operands have")
    behind = ranks[first] - axis % max(1, ranks[first]) - ranks[value]
    if behind <= 0:
        return
    axes = range(ranks[value], ranks[value] + behind)
    new = ir.node("Unsqueeze", [value], {"axes": list(axes)})
    stored = _stored(node, place)
    if stored is None:
        names.graph.insert_before(node, [new])
        result = new.outputs[0]
        result.name = names.take(f"{value.name}_over_{node.name}")
    else:
        _drop(names, value, node, place)
        result = names.store(stored.reshape(*stored.shape, *[1] * behind), str(value.name))
    node.replace_input_with(place, result)


def _drop(names: FreeNames, value: ir.Value, node: ir.Node, place: int) -> None:
    """Forget a stored value that only this node reads."""
    if list(value.uses()) == [(node, place)] and value.name in names.graph.initializers:
        names.remove(str(value.name))


def _training(_: FreeNames, node: ir.Node, __: _Ranks) -> None:
    """Refuse what computes statistics; otherwise exporters meant inference, whatever `is_test`."""
    used = [value for value in node.outputs[1:] if value.uses() or value.is_graph_output()]
    if used and node.op_type == "BatchNormalization":
        raise _refused(node, "is in training mode")
    if node.attributes.get_int("spatial", 1) == 0:
        raise _refused(node, "has statistics for every place (spatial=0), as no later opset has")
    node.resize_outputs(1)


def _reshape(names: FreeNames, node: ir.Node, _: _Ranks) -> None:
    if "shape" in node.attributes:
        sizes = np.array(node.attributes.pop("shape").as_ints(), np.int64)
        _append(node, names.store(sizes, f"{node.name}_shape"))


def _cast(_: FreeNames, node: ir.Node, __: _Ranks) -> None:
    to = node.attributes["to"]
    if to.type == ir.AttributeType.STRING:
        node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType[to.as_string().upper()]))


def _concat(_: FreeNames, node: ir.Node, __: _Ranks) -> None:
    if "axis" not in node.attributes:
        node.attributes["axis"] = ir.AttrInt64("axis", 1)


def _pad(_: FreeNames, node: ir.Node, __: _Ranks) -> None:
    if "paddings" in node.attributes:
        pads = node.attributes.pop("paddings").as_ints()
        node.attributes["pads"] = ir.AttrInt64s("pads", pads)


def _split(names: FreeNames, node: ir.Node, _: _Ranks) -> None:
    stored = _stored(node, 1)
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        if stored is None:
            raise _refused(node, "has sizes that are computed")
        value = node.inputs[1]
        _drop(names, value, node, 1)
        node.attributes["split"] = ir.AttrInt64s("split", stored.ravel().tolist())
        node.resize_inputs(1)


def _tile(names: FreeNames, node: ir.Node, ranks: _Ranks) -> None:
    """One axis that is repeated becomes the number of repeats for every axis."""
    if len(node.inputs) < 3:
        return
    tiles, axis = _stored(node, 1), _stored(node, 2)
    rank = ranks.get(node.inputs[0])  # type: ignore[arg-type]
    if tiles is None or axis is None or rank is None:
        raise _refused(node, "repeats an axis that is computed")
    repeats = np.ones(rank, np.int64)
    repeats[int(axis.item())] = int(tiles.item())
    node.resize_inputs(1)
    _append(node, names.store(repeats, f"{node.name}_repeats"))


def _upsample(_: FreeNames, node: ir.Node, ranks: _Ranks) -> None:
    if "scales" in node.attributes:
        return
    rank = ranks.get(node.inputs[0], 4)  # type: ignore[arg-type]
    wanted = [node.attributes.pop(name).as_float() for name in ("height_scale", "width_scale")]
    node.attributes["scales"] = ir.AttrFloat32s("scales", [1.0] * (rank - 2) + wanted)


def _power(_: FreeNames, node: ir.Node, __: _Ranks) -> None:
    """The power of a norm was a float."""
    p = node.attributes.get("p")
    if p is not None and p.type == ir.AttributeType.FLOAT:
        node.attributes["p"] = ir.AttrInt64("p", int(p.as_float()))


def _selu(_: FreeNames, node: ir.Node, __: _Ranks) -> None:
    """Its default values had fewer digits; opset 7 has those of opset 6."""
    for name, value in (("alpha", 1.6732), ("gamma", 1.0507)):
        if "consumed_inputs" in node.attributes and name not in node.attributes:
            node.attributes[name] = ir.AttrFloat32(name, value)


def _recurrent(_: FreeNames, node: ir.Node, __: _Ranks) -> None:
    node.attributes.pop("output_sequence", None)


def _stored(node: ir.Node, place: int) -> np.ndarray | None:
    value = node.inputs[place] if len(node.inputs) > place else None
    found = None if value is None else ir.convenience.get_const_tensor(value)
    return None if found is None else found.numpy()


def _append(node: ir.Node, value: ir.Value) -> None:
    node.resize_inputs(len(node.inputs) + 1)
    node.replace_input_with(len(node.inputs) - 1, value)


def _refused(node: ir.Node, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"ONNX node {node.name!r} ({node.op_type}) {what}; export the model again with opset "
        f"{FIRST_BROADCAST} or later"
    )


_Change = Callable[[FreeNames, ir.Node, _Ranks], None]


def _changes() -> Iterator[tuple[str, _Change]]:
    yield from ((op, _broadcast) for op in _BINARY)
    yield from ((op, _training) for op in ("BatchNormalization", "Dropout"))
    yield from ((op, _recurrent) for op in ("GRU", "LSTM", "RNN"))
    yield from ((op, _power) for op in ("GlobalLpPool", "LpPool"))


_CHANGES: dict[str, _Change] = {
    **dict(_changes()),
    "Cast": _cast,
    "Concat": _concat,
    "PRelu": _slope,
    "Pad": _pad,
    "Reshape": _reshape,
    "Selu": _selu,
    "Split": _split,
    "Tile": _tile,
    "Upsample": _upsample,
}
