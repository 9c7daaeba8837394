"""The opset of a file is raised as far as it must be, and lowered only where ops stay the same."""

import onnx
import onnx_ir as ir
import pytest
from onnx import parser

from tersor.errors import ExportError
from tersor.export.onnx.opset import with_opset

PLAIN = "g (float[N, 3] x) => (float[N, 3] y) { y = Softplus(x) }"
ROUNDED = """g (float[N, 3] x) => (float[N, 3] y) <float s = {0.1}, TYPE z = {0}> {
    q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"""
MEAN = "g (float[N, 3] x) => (float[N, 1] y) { y = ReduceMean <axes = [1]> (x) }"


def made(text, opset):
    file = onnx.ModelProto(ir_version=8, graph=parser.parse_graph(text))
    file.opset_import.append(onnx.helper.make_opsetid("", opset))
    file.metadata_props.add(key="author", value="somebody")
    return ir.from_proto(file)


def checked(model):
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    return model.opset_imports[""]


def test_it_stays_where_nothing_needs_more():
    assert checked(with_opset(made(PLAIN, 11))) == 11


@pytest.mark.parametrize(("kind", "least"), [("uint8", 13), ("int16", 21)])
def test_integers_raise_it(kind, least):
    text = ROUNDED.replace("TYPE", kind)
    assert checked(with_opset(made(text, 13))) == least
    assert checked(with_opset(made(text, 22))) == 22
    if least > 13:
        with pytest.raises(ExportError, match=r"opset=20: the file has integers .* need opset 21"):
            with_opset(made(text, 13), 20)


def test_an_op_that_changed_is_converted():
    model = with_opset(made(MEAN, 13), 18)
    assert checked(model) == 18
    (node,) = [node for node in model.graph if node.op_type == "ReduceMean"]
    assert len(node.inputs) == 2
    assert model.metadata_props["author"] == "somebody"


def test_an_op_that_an_opset_does_not_have():
    text = "g (float[N, 3] x) => (float[N, 3] y) { y = Gelu(x) }"
    with pytest.raises(ExportError, match="cannot be converted to opset 13: Gelu"):
        with_opset(made(text, 20), 13)


def test_outputs_keep_the_names_of_their_axes():
    text = "g (float[N, 3] x) => (float[rows, columns] y) { y = ReduceMean <axes = [1]> (x) }"
    model = with_opset(made(text, 13), 18)
    assert [str(axis) for axis in model.graph.outputs[0].shape] == ["rows", "columns"]
