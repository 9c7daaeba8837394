"""One node as a file, run in onnxruntime, for tests of what it computes."""

import platform

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

#: The kernels of other processors round in another way.
on_x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other kernels")
CONTRIB = "com.microsoft"
_OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid(CONTRIB, 1)]


def node_and_output(op, arrays, domain="", dtype=None, **attributes):
    """A node of `op` that reads `arrays`, and what onnxruntime makes of them.

    The first real input, the activation, is fed; the others are stored, as in files.
    """
    names = [f"x{i}" if array is not None else "" for i, array in enumerate(arrays)]
    node = helper.make_node(op, names, ["y"], name="node", domain=domain, **attributes)
    fed = {name for name, array in zip(names, arrays, strict=True) if name in _activations(op)}
    stored = [
        numpy_helper.from_array(np.asarray(array), name)
        for name, array in zip(names, arrays, strict=True)
        if array is not None and name not in fed
    ]
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), list(array.shape)
        )
        for name, array in zip(names, arrays, strict=True)
        if name in fed
    ]
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(dtype or arrays[0].dtype))
    output = helper.make_tensor_value_info("y", dtype, None)
    graph = helper.make_graph([node], "one", inputs, [output], stored)
    model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=10)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options)
    feed = {n: a for n, a in zip(names, arrays, strict=True) if n in fed}
    return node, session.run(None, feed)[0]


def _activations(op):
    return {"QLinearConcat": {"x2", "x5"}}.get(
        op, {"x0", "x3"} if op in ("QLinearAdd", "QLinearMul") else {"x0"}
    )
