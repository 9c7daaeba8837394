"""Writes a file whose large values are never in memory a second time.

    file = model without graph · graph { nodes, inputs, outputs · value · value · … }

Protocol buffers are fields, one behind the other, each with its length in front. So every value can
be written by itself, from where it is, while everything else is one small message.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

_LARGE = 1 << 14  # bytes of a value whose numbers decide about no shape
_GRAPH, _VALUE, _RAW = 7, 5, 9  # fields of ModelProto, GraphProto, TensorProto


@dataclass
class Parts:
    """A file in parts.

    Attributes:
        model: The file; its large values have a type and a shape, and no content.
        contents: Name of a large value → its content.
    """

    model: onnx.ModelProto
    contents: dict[str, ir.TensorProtocol]

    def outline(self) -> onnx.ModelProto:
        """The file with inputs in place of its large values, for what needs only their shapes."""
        found = onnx.ModelProto()
        found.CopyFrom(self.model)
        graph, given = found.graph, {value.name for value in found.graph.input}
        small = [value for value in graph.initializer if value.name not in self.contents]
        large = [value for value in graph.initializer if value.name in self.contents]
        inputs = [
            onnx.helper.make_tensor_value_info(value.name, value.data_type, value.dims)
            for value in large
            if value.name not in given
        ]
        del graph.initializer[:]
        graph.initializer.extend(small)
        graph.input.extend(inputs)
        return found


def divide(model: ir.Model) -> Parts:
    """Divide a file into its large values and the rest.

    Args:
        model: The file; it is not changed.
    """
    large = {
        name: value.const_value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and _is_large(value.const_value)
    }
    try:
        for name, tensor in large.items():
            model.graph.initializers[name].const_value = _stand_in(name, tensor)
        proto = ir.to_proto(model)
    finally:
        for name, tensor in large.items():
            model.graph.initializers[name].const_value = tensor
    for value in proto.graph.initializer:
        if value.name in large:
            value.ClearField("data_location")
            value.ClearField("external_data")
    return Parts(proto, large)


def _is_large(tensor: ir.TensorProtocol) -> bool:
    return tensor.dtype != ir.DataType.STRING and tensor.nbytes >= _LARGE


def _stand_in(name: str, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
    """A tensor of the same type and shape, whose content `ir.to_proto` does not ask for."""
    return ir.ExternalTensor(
        location="",
        offset=None,
        length=None,
        dtype=tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=name,
        doc_string=tensor.doc_string,
        metadata_props=dict(tensor.metadata_props),
    )


def write(parts: Parts, path: Path) -> None:
    """Write a file.

    Args:
        parts: What `divide` returned; it has no large values any more.
        path: The file.
    """
    rest = onnx.ModelProto()
    rest.CopyFrom(parts.model)
    values = [(value, _size(value, parts)) for value in parts.model.graph.initializer]
    del rest.graph.initializer[:]
    graph = rest.graph.SerializeToString()
    rest.ClearField("graph")
    size = len(graph) + sum(len(_head(_VALUE, length)) + length for _, length in values)
    with path.open("wb") as file:
        file.write(rest.SerializeToString() + _head(_GRAPH, size) + graph)
        for value, length in values:
            file.write(_head(_VALUE, length))
            file.writelines(_fields(value, parts))


def _size(value: onnx.TensorProto, parts: Parts) -> int:
    content = parts.contents.get(value.name)
    head = b"" if content is None else _head(_RAW, content.nbytes)
    return value.ByteSize() + len(head) + (0 if content is None else content.nbytes)


def _fields(value: onnx.TensorProto, parts: Parts) -> Iterator[bytes]:
    yield value.SerializeToString()
    content = parts.contents.pop(value.name, None)
    if content is not None:
        yield _head(_RAW, content.nbytes)
        yield content.tobytes()


def _head(field: int, length: int) -> bytes:
    """The number of a field that has a length, and the length: 7 bits a byte, low ones first."""
    found, rest = [field << 3 | 2], length
    while rest >= 1 << 7:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*found, rest])
