"""Broken ONNX models out of sound ones: op types, attributes, shapes, names, edges, paths."""

import random
from collections.abc import Callable
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper

from benchmarks.fuzz.damage import FLOATS, NAMES, NUMBERS, mutate_bytes

PATHS = ("../outside.bin", "/etc/passwd", "weights.bin", ".", "", "/dev/zero", "link.bin", "a\x00b")
OPS = sorted({schema.name for schema in onnx.defs.get_all_schemas()})


def _op(model: ModelProto, rng: random.Random) -> None:
    rng.choice(model.graph.node).op_type = rng.choice(OPS)


def _attribute(model: ModelProto, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    if node.attribute and rng.random() < 0.3:
        del node.attribute[rng.randrange(len(node.attribute))]
        return
    names = [a.name for a in node.attribute] or ["axis", "axes", "to", "value", "perm", "keepdims"]
    name = rng.choice(names)
    kept = [a for a in node.attribute if a.name != name]
    values: tuple[Any, ...] = (
        rng.choice(NUMBERS),
        [rng.choice(NUMBERS) for _ in range(rng.randrange(1, 9))],
        rng.choice(FLOATS),
        rng.choice(NAMES),
        model.graph,
        _tensor(rng),
    )
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, rng.choice(values))])


def _tensor(rng: random.Random) -> TensorProto:
    tensor = TensorProto(name="t", data_type=rng.randrange(25), raw_data=rng.randbytes(16))
    tensor.dims.extend(rng.choice(NUMBERS) for _ in range(rng.randrange(4)))
    if rng.random() < 0.3:
        _externalize(tensor, rng)
    return tensor


def _externalize(tensor: TensorProto, rng: random.Random) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value=rng.choice(PATHS))
    for key in ("offset", "length"):
        if rng.random() < 0.5:
            tensor.external_data.add(key=key, value=str(rng.choice(NUMBERS)))


def _weight(model: ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    what = rng.randrange(5)
    if what == 0 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
    elif what == 1:
        tensor.data_type = rng.randrange(25)
    elif what == 2:
        _externalize(tensor, rng)
    elif what == 3:
        tensor.raw_data = mutate_bytes(tensor.raw_data or b"\0" * 8, rng)
    else:
        tensor.CopyFrom(_tensor(rng))


def _input_shape(model: ModelProto, rng: random.Random) -> None:
    kind = rng.choice(model.graph.input).type.tensor_type
    if rng.random() < 0.2:
        kind.elem_type = rng.randrange(25)
    elif rng.random() < 0.2:
        kind.ClearField("shape")
    elif kind.shape.dim:
        rng.choice(kind.shape.dim).dim_value = rng.choice(NUMBERS)


def _values(model: ModelProto) -> list[str]:
    graph = model.graph
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    return [*names, *(x.name for x in (*graph.initializer, *graph.input))]


def _edge(model: ModelProto, rng: random.Random) -> None:
    """Rewire: backward for a cycle, to nothing, to a value of another type, or one twice."""
    node = rng.choice(model.graph.node)
    ends = rng.choice((node.input, node.input, node.output))
    name = rng.choice((*_values(model), "nowhere", ""))
    if ends and rng.random() < 0.8:
        ends[rng.randrange(len(ends))] = name
    else:
        ends.append(name)


def _name(model: ModelProto, rng: random.Random) -> None:
    """Rename one value everywhere, or one node."""
    new = rng.choice((*NAMES, rng.choice(_values(model) or [""])))
    if rng.random() < 0.2:
        rng.choice(model.graph.node).name = new
        return
    old = rng.choice(_values(model))
    for node in model.graph.node:
        for ends in (node.input, node.output):
            ends[:] = [new if name == old else name for name in ends]
    for value in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        value.name = new if value.name == old else value.name


def _nodes(model: ModelProto, rng: random.Random) -> None:
    nodes = list(model.graph.node)
    what = rng.randrange(3)
    if what == 0:
        del nodes[rng.randrange(len(nodes))]
    elif what == 1:
        nodes.insert(rng.randrange(len(nodes)), rng.choice(nodes))
    else:
        rng.shuffle(nodes)
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _header(model: ModelProto, rng: random.Random) -> None:
    if rng.random() < 0.3:
        del model.opset_import[:]
    elif rng.random() < 0.5:
        model.opset_import[0].version = rng.choice((*range(1, 30), *NUMBERS))
    else:
        rng.choice(model.graph.node).domain = rng.choice(("ai.onnx.ml", "com.microsoft", *NAMES))


def _function(model: ModelProto, rng: random.Random) -> None:
    """A local function, perhaps one that calls itself."""
    body = helper.make_node(rng.choice(("F", "Relu", "G")), ["x"], ["y"], domain="local")
    opsets = [helper.make_opsetid("local", 1), helper.make_opsetid("", 21)]
    model.functions.append(helper.make_function("local", "F", ["x"], ["y"], [body], opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    node = rng.choice(model.graph.node)
    node.op_type, node.domain = "F", "local"


def _deep(model: ModelProto, rng: random.Random) -> None:
    """An attribute of graphs in graphs."""
    inner = onnx.GraphProto(name="g")
    for _ in range(rng.randrange(1, 90)):
        node = NodeProto(op_type="If", output=["y"])
        node.attribute.add(name="then_branch", type=AttributeProto.GRAPH).g.CopyFrom(inner)
        inner = onnx.GraphProto(name="g", node=[node])
    rng.choice(model.graph.node).attribute.extend(inner.node[0].attribute)


STRUCTURE: tuple[Callable[[ModelProto, random.Random], None], ...] = (
    *(_op, _attribute, _attribute, _weight, _weight, _input_shape, _edge, _edge, _name, _nodes),
    *(_header, _function, _deep),
)


def mutate_onnx(content: bytes, rng: random.Random) -> bytes:
    """A few changes of the structure; of the bytes in a quarter of all cases."""
    if rng.random() < 0.25:
        return mutate_bytes(content, rng)
    model = onnx.load_from_string(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        try:
            rng.choice(STRUCTURE)(model, rng)
        except (IndexError, ValueError, TypeError, DecodeError):
            continue  # nothing of the kind is left, or protobuf itself refuses the value
    return model.SerializeToString()
