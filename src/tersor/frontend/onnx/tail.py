"""Cuts off what computes text, maps and sequences at the end of a file: it is carried as it is.

    features → network → scores ┬→ ZipMap → probabilities: a map for each sample
                                └→ ArgMax → ArrayFeatureExtractor → label: text

A network holds tensors of numbers, so it ends in front of the first node that makes something else.
That node and all behind it, the tail, lie in the notes of the file, and return when it is written.
"""

import json
from collections.abc import Iterable

import onnx
from onnx import TensorProto, version_converter

from tersor.errors import UnsupportedError
from tersor.frontend.explain import first_line
from tersor.frontend.onnx.branches import free_name, graphs_in
from tersor.frontend.onnx.older_opsets import LEAST
from tersor.graph.carried_model import decode, encode

#: Under this key, the notes of a file that was cut hold the tail.
TAIL = "tersor.tail"
_ORDER = "outputs"
_IR_VERSION = 8  # as `tersor.frontend.onnx.older_opsets` writes
_TEXT = TensorProto.STRING
_COMPLEX = {TensorProto.COMPLEX64, TensorProto.COMPLEX128}


def cut_tail(model: onnx.ModelProto) -> tuple[str, ...]:
    """Cut off the nodes behind which a file has other values than tensors of numbers.

    Args:
        model: The file; edited in place.

    Returns:
        What was done, in words; nothing for a file of numbers.

    Raises:
        UnsupportedError: Nothing is in front of the tail, or an output has complex numbers.
    """
    graph = model.graph
    _check_complex(graph.output)
    odd = [value.name for value in graph.output if not is_number(value)]
    if not odd:
        return ()
    types = _types(model)
    body, tail = _divided(graph, {n for n, value in types.items() if not is_number(value)}, odd)
    made = {name for node in body for name in node.output}
    there = made | _inputs(graph)
    record = _record(model, tail, there, types)
    ends = [value for value in graph.output if value.name in there]
    known = {value.name for value in ends}
    cuts = [value for value in record.graph.input if value.name in made - known]
    if not ends and not cuts:
        raise UnsupportedError(
            f"outputs {odd} are text, maps or sequences, and no layer is in front of the nodes "
            f"that make them ({', '.join(_kinds(tail))}): there is nothing to quantize"
        )
    read = {name for node in body for name in _reads(node)} | known
    kept = [value for value in graph.initializer if value.name in read]
    del graph.node[:], graph.output[:], graph.initializer[:]
    graph.initializer.extend(kept)
    graph.node.extend(body)
    graph.output.extend([*ends, *cuts])
    model.metadata_props.add(key=TAIL, value=encode(record))
    names, kinds = ", ".join(map(repr, odd)), ", ".join(_kinds(tail))
    return (f"{names}: no tensor of numbers; what computes it is carried over as it is ({kinds})",)


def tail_of(notes: Iterable[tuple[str, str]]) -> onnx.ModelProto | None:
    """The tail of a file that was cut, or None.

    Args:
        notes: The notes of the file.
    """
    text = dict(notes).get(TAIL)
    return None if text is None else decode(text)


def outputs_of(tail: onnx.ModelProto) -> list[str]:
    """The names of all outputs that the file had, in order."""
    return json.loads({item.key: item.value for item in tail.metadata_props}[_ORDER])


def is_number(value: onnx.ValueInfoProto) -> bool:
    """Whether a value is a tensor of numbers, as far as its type is known."""
    kind = value.type.WhichOneof("value") or "tensor_type"
    return kind == "tensor_type" and value.type.tensor_type.elem_type != _TEXT


def _check_complex(values: Iterable[onnx.ValueInfoProto]) -> None:
    for value in values:
        if value.type.tensor_type.elem_type in _COMPLEX:
            raise UnsupportedError(
                f"output {value.name!r} has complex numbers, with which nothing can be compared; "
                "let the file return their real and imaginary parts"
            )


def _types(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """The types of values, as far as onnx infers them."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # noqa: BLE001 - then the types of the outputs have to do
        graph = model.graph
    return {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}


def _divided(
    graph: onnx.GraphProto, odd: set[str], outputs: list[str]
) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """The network; the tail, which is what makes odd values of outputs, and all that reads it."""
    behind, body, tail = set[str](), list[onnx.NodeProto](), list[onnx.NodeProto]()
    wanted = _in_front(graph, outputs)
    for node in graph.node:
        makes = not odd.isdisjoint(node.output) and not wanted.isdisjoint(node.output)
        if makes or not behind.isdisjoint(_reads(node)):
            tail.append(node)
            behind.update(node.output)
        else:
            body.append(node)
    return body, tail


def _in_front(graph: onnx.GraphProto, names: Iterable[str]) -> set[str]:
    """Everything that these values are computed from, and they themselves."""
    found = set(names)
    for node in reversed(graph.node):
        if not found.isdisjoint(node.output):
            found.update(_reads(node))
    return found


def _reads(node: onnx.NodeProto) -> list[str]:
    """What a node reads, and what its sub-graphs read from anywhere."""
    graphs = [graph for a in node.attribute for graph in graphs_in(a)]
    inner = [name for g in graphs for n in g.node for name in _reads(n)]
    ends = [value.name for graph in graphs for value in graph.output]
    return [name for name in (*node.input, *inner, *ends) if name]


def _record(
    model: onnx.ModelProto,
    tail: list[onnx.NodeProto],
    there: set[str],
    types: dict[str, onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """The tail as a model of its own, of the opset that edits need; `there` is what it may read."""
    graph, made = model.graph, {name for node in tail for name in node.output}
    read = dict.fromkeys(name for node in tail for name in _reads(node))
    stored = [value for value in graph.initializer if value.name in read]
    inputs = [types.get(name, onnx.ValueInfoProto(name=name)) for name in read if name in there]
    outputs = [value for value in graph.output if value.name in made]
    small = onnx.GraphProto(
        name="tail", node=tail, input=inputs, output=outputs, initializer=stored
    )
    found = onnx.ModelProto(
        ir_version=model.ir_version, graph=small, opset_import=model.opset_import
    )
    found.metadata_props.add(key=_ORDER, value=json.dumps([v.name for v in graph.output]))
    return _in_version(found, LEAST)


def _inputs(graph: onnx.GraphProto) -> set[str]:
    return {value.name for value in graph.input} - {value.name for value in graph.initializer}


def _kinds(nodes: Iterable[onnx.NodeProto]) -> list[str]:
    return list(dict.fromkeys(node.op_type for node in nodes))


def join_tail(model: onnx.ModelProto) -> None:
    """Join the tail of a file to what became of the rest of it.

    Args:
        model: The file; edited in place. Nothing happens if no tail was cut off.
    """
    notes = {item.key: item.value for item in model.metadata_props}
    tail = tail_of(notes.items())
    if tail is None:
        return
    del notes[TAIL], model.metadata_props[:]
    onnx.helper.set_model_props(model, notes)
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    tail = _in_version(tail, opset)
    names = _free_names(model.graph, tail.graph)
    known = {value.name: value for value in (*model.graph.output, *tail.graph.output)}
    for node in tail.graph.node:
        _rename(node, names)
        model.graph.node.append(node)
    for value in tail.graph.initializer:
        value.name = names.get(value.name, value.name)
        model.graph.initializer.append(value)
    imported = {entry.domain for entry in model.opset_import}
    model.opset_import.extend(x for x in tail.opset_import if x.domain not in imported)
    order = outputs_of(tail)
    del model.graph.output[:]
    model.graph.output.extend(known[name] for name in order)


def _in_version(tail: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The tail in this opset, if its own is an earlier one."""
    have = next((x.version for x in tail.opset_import if x.domain in ("", "ai.onnx")), opset)
    if have >= opset:
        return tail
    plain = onnx.ModelProto()
    plain.CopyFrom(tail)
    del plain.graph.output[:]
    plain.graph.output.extend(onnx.ValueInfoProto(name=v.name) for v in tail.graph.output)
    try:
        found = version_converter.convert_version(plain, opset)
    except Exception as error:
        raise UnsupportedError(
            f"the file has opset {have}, and the nodes that make its text, maps or sequences "
            f"({', '.join(_kinds(tail.graph.node))}) cannot be converted to {opset}: "
            f"{first_line(error)}. Export it again with opset {opset} or later"
        ) from error
    found.ir_version = max(found.ir_version, _IR_VERSION)
    del found.graph.output[:], found.metadata_props[:]
    found.graph.output.extend(tail.graph.output)
    found.metadata_props.extend(tail.metadata_props)
    return found


def _free_names(graph: onnx.GraphProto, tail: onnx.GraphProto) -> dict[str, str]:
    """New names for values inside the tail that have one that the rest of the file took."""
    taken = {name for node in graph.node for name in node.output}
    taken |= {value.name for value in graph.initializer}
    ends = {value.name for value in (*tail.input, *tail.output)}
    made = [name for node in tail.node for name in node.output]
    inner = {*made, *(value.name for value in tail.initializer)} - ends
    return {name: free_name(f"{name}_tail", {*taken, *inner}) for name in sorted(inner & taken)}


def _rename(node: onnx.NodeProto, names: dict[str, str]) -> None:
    for field in (node.input, node.output):
        field[:] = [names.get(name, name) for name in field]
    for attribute in node.attribute:
        for graph in graphs_in(attribute):
            for inner in graph.node:
                _rename(inner, names)
