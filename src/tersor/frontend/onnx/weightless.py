"""Takes the weights out of a file for a while: functions of onnx copy it, up to 2 GiB."""

from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir

_SMALL = 1000  # bytes; functions of onnx look into small values only, such as shapes


@contextmanager
def without_weights(model: ir.Model) -> Iterator[dict[str, ir.TensorProtocol]]:
    """Make the large stored values inputs for a while; yields them by name.

    Args:
        model: The model; it is the same again afterwards.
    """
    graph, inputs = model.graph, list(model.graph.inputs)
    large = {
        str(value.name): value
        for value in graph.initializers.values()
        if value.const_value is not None and value.const_value.nbytes > _SMALL
    }
    tensors = {n: value.const_value for n, value in large.items() if value.const_value is not None}
    for name, value in large.items():
        value.shape, value.dtype = ir.Shape(tensors[name].shape.numpy()), tensors[name].dtype
        del graph.initializers[name]
        value.const_value = None
        graph.inputs.append(value)
    try:
        yield tensors
    finally:
        del graph.inputs[len(inputs) :]
        for name, value in large.items():
            value.const_value = tensors[name]
            graph.register_initializer(value)
