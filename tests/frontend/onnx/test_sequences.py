"""Sequences and optional values with known items are read as these items."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

import tersor
from tersor.frontend.capture import capture
from tersor.frontend.onnx.read import read
from tersor.graph.carried import carried_nodes, part_ops
from tests.frontend.onnx.files import model, random, write

#: What makes `z`, with 8 columns, of `h`, with 8 columns, and of `a`, which is what h was.
BODIES = {
    "split by sizes": """q = SplitToSequence <axis = 1> (h, sizes) u = SequenceAt(q, zero)
        v = SequenceAt(q, last) z = Concat <axis = 1> (v, u)""",
    "split by steps": """q = SplitToSequence <axis = -1> (h, three)
        z = ConcatFromSequence <axis = 1> (q)""",
    "single columns": """q = SplitToSequence <axis = 1, keepdims = 0> (h)
        z = ConcatFromSequence <axis = 1, new_axis = 1> (q)""",
    "list": """q = SequenceConstruct(h, a) i = Identity(q) e = SequenceAt(i, last)
        n = SequenceLength(i) f = Cast <to = 1> (n) z = Mul(e, f)""",
    "append": """o = SequenceEmpty() p = SequenceInsert(o, h) q = SequenceInsert(p, a, zero)
        e = SequenceAt(q, zero) z = Add(e, h)""",
    "optional": "o = Optional(h) z = OptionalGetElement(o)",
}
STORED = {
    "sizes": np.array([3, 5]),
    "three": np.array(3),
    "zero": np.array(0),
    "last": np.array(-1),
    "w": random(4, 8),
    "m": random(8, 3, seed=1),
}


@pytest.mark.parametrize("name", BODIES)
def test_what_is_read_from_a_sequence_is_its_item(name, tmp_path):
    text = f"""g (float[N, 4] x) => (float[N, 3] y) {{
        a = MatMul(x, w) h = Relu(a) {BODIES[name]} y = MatMul(z, m) }}"""
    path, x = write(tmp_path, model(text, 18, **STORED)), random(9, 4, seed=2)
    contents = read(path)
    assert contents.changes == ("sequences are replaced by their items",)
    assert not [node for node in contents.nodes if "Sequence" in node.op or "Optional" in node.op]
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"x": x})
    network = capture(tersor.load(path)[0])
    found = network(torch.from_numpy(x)).detach()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_sequence_whose_items_depend_on_values_is_one_part_with_what_reads_it(tmp_path):
    text = """g (float[N, 4] x, int64 k) => (float[N, 4] y) {
        m = Neg(x) q = SequenceConstruct(x, m) e = SequenceAt(q, k) y = Relu(e) }"""
    loaded, _ = tersor.load(write(tmp_path, model(text)))
    x = torch.from_numpy(random(2, 4))
    network = capture(loaded, (x, torch.tensor(1)))
    assert [part_ops(part) for part in carried_nodes(network)] == ["SequenceConstruct, SequenceAt"]
    for place, wanted in ((0, x), (1, -x)):
        assert torch.equal(network(x, torch.tensor(place)), wanted.relu())


def test_nodes_between_those_of_a_part_belong_to_it(tmp_path):
    text = """g (float[N, 4] x, int64 k) => (float[N, 4] y, float[N, 4] z) {
        q = SequenceConstruct(x, x) e = SequenceAt(q, k) n = Neg(e) r = SequenceInsert(q, n, k)
        z = Exp(x) y = ConcatFromSequence <axis = 0> (r) }"""
    loaded, _ = tersor.load(write(tmp_path, model(text)))
    x = torch.from_numpy(random(2, 4))
    network = capture(loaded, (x, torch.tensor(1)))
    (part,) = carried_nodes(network)
    assert "Neg" in part_ops(part)
    y, z = network(x, torch.tensor(0))
    assert torch.equal(y, torch.cat([-x, x, x]))
    assert torch.equal(z, x.exp())
