"""Sequences and optional values with known items are read as these items."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

import tersor
from tersor.errors import UnsupportedError
from tersor.frontend.capture import capture
from tersor.frontend.onnx.read import read
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


def test_a_sequence_whose_items_depend_on_values(tmp_path):
    text = """g (float[N, 4] x, int64 k) => (float[N, 4] y) {
        q = SequenceConstruct(x, x) e = SequenceAt(q, k) y = Relu(e) }"""
    loaded, _ = tersor.load(write(tmp_path, model(text)))
    with pytest.raises(UnsupportedError, match=r"'q' \(SequenceConstruct\).*extract_model"):
        capture(loaded, (torch.ones(2, 4), torch.tensor(1)))
