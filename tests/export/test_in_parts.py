"""A file that is written value by value is the file that is written as a whole."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from tersor.export.onnx.in_parts import divide, write

_SIZES = [1, 127, 128, 20_000, 70_000]


@pytest.fixture
def proto():
    rng = np.random.default_rng(0)
    values = [
        numpy_helper.from_array(rng.integers(-99, 99, size).astype(kind), f"{kind}_{size}")
        for size in _SIZES
        for kind in ("int8", "float32", "uint16")
    ]
    four_bits = helper.make_tensor("four", TensorProto.INT4, [40_001], [3] * 40_001)
    listed = helper.make_tensor("listed", TensorProto.FLOAT, [2, 5_000], [0.5] * 10_000)
    listed.doc_string = "what it is"
    words = helper.make_tensor("words", TensorProto.STRING, [3_000], [b"word"] * 3_000)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5_000])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])
    node = helper.make_node("Gemm", ["x", "listed"], ["y"], transB=1)
    stored = [*values, four_bits, listed, words]
    graph = helper.make_graph([node], "g", [x], [y], stored, doc_string="a graph")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    helper.set_model_props(model, {"note": "kept"})
    return model


def test_what_is_read_is_what_was_written(proto, tmp_path):
    model, path = ir.from_proto(proto), tmp_path / "parts.onnx"
    parts = divide(model)
    assert parts.contents.keys() > {"four", "listed", "float32_70000"}
    assert "words" not in parts.contents
    assert parts.model.ByteSize() < 40_000
    write(parts, path)
    found = onnx.load(path)
    assert list(found.graph.node) == list(proto.graph.node)
    assert (found.graph.name, found.graph.doc_string) == ("g", "a graph")
    assert list(found.metadata_props) == list(proto.metadata_props)
    assert found.opset_import == proto.opset_import
    names = [value.name for value in proto.graph.initializer]
    assert [value.name for value in found.graph.initializer] == names
    for old, new in zip(proto.graph.initializer, found.graph.initializer, strict=True):
        assert (old.data_type, old.dims, old.doc_string) == (
            new.data_type,
            new.dims,
            new.doc_string,
        )
        np.testing.assert_array_equal(numpy_helper.to_array(old), numpy_helper.to_array(new))
    assert not parts.contents  # nothing is held any more
    assert model.graph.initializers["listed"].const_value.numpy().sum() == 5_000


def test_an_outline_is_checked_without_the_values(proto):
    outline = divide(ir.from_proto(proto)).outline()
    assert outline.ByteSize() < 40_000
    onnx.checker.check_model(outline, full_check=True)
    shapes = {value.name: value.type.tensor_type.shape for value in outline.graph.input}
    assert [axis.dim_value for axis in shapes["listed"].dim] == [2, 5_000]
    outline.graph.node[0].attribute[0].i = 0
    with pytest.raises(onnx.shape_inference.InferenceError):
        onnx.checker.check_model(outline, full_check=True)
