"""Kinds of files that were once refused, or failed later: what comes out computes what came in."""

import numpy as np
import onnxruntime
import pytest
import torch

import tersor
from tests.frontend.onnx.files import model, random, write

X = "float[N, 3, 8, 8] x"
CONV = "c = Conv(x, w) s = Sigmoid(c)"
#: Texts of files.
KINDS = {
    "a number minus a value": (f"g ({X}) => (float y) {{ {CONV} z = Sub(k, s) y = Conv(z, v) }}"),
    "a number to the power of a value": (
        f"g ({X}) => (float y) {{ {CONV} z = Pow(k, s) y = Conv(z, v) }}"
    ),
    "norms over channels": (
        f"g ({X}) => (float y) {{ {CONV} z = LRN <size = 3> (s) y = Conv(z, v) }}"
    ),
    "a bias from an input": (
        f"g ({X}, float[4] b) => (float y) {{ c = Conv(x, w, b) y = Conv(c, v) }}"
    ),
    "LpPool with an open batch": (
        f"g ({X}) => (float y) {{ {CONV} z = LpPool <kernel_shape = [2, 2]> (s) y = Conv(z, v) }}"
    ),
    "an op that onnx does not know": (
        f"""g ({X}) => (float y) {{ {CONV} f = Flatten <axis = 2> (s)
            y = SimplifiedLayerNormalization <axis = -1, epsilon = 1e-5> (f, gain) }}"""
    ),
    "a sequence that a loop fills": (
        f"""g ({X}) => (float y) {{ {CONV}
            e = SequenceEmpty () three = Constant <value = int64 {{3}}> ()
            q = Loop (three, , e) <body = b (int64 i, bool go, seq(float) before)
                => (bool more, seq(float) after) {{
                    more = Identity(go) m = Mul(s, k) after = SequenceInsert(before, m) }}>
            z = ConcatFromSequence <axis = 0> (q) y = Conv(z, v) }}"""
    ),
    "unsigned integers of 16 bits": (
        """g (uint16[N, 3, 8, 8] x) => (float y) {
            f = Cast <to = 1> (x) c = Conv(f, w) y = Relu(c) }"""
    ),
}
WEIGHTS = {
    "w": random(4, 3, 3, 3) / 5,
    "v": random(4, 4, 1, 1, seed=1),
    "k": np.array(1.5, np.float32),
    "gain": np.ones(36, np.float32),
}


def inputs(session, seed):
    """Inputs for three samples."""
    found = {}
    for number, value in enumerate(session.get_inputs()):
        shape = [size if isinstance(size, int) else 3 for size in value.shape]
        drawn = random(*shape, seed=seed + number)
        is_float = value.type == "tensor(float)"
        found[value.name] = drawn if is_float else (99 * np.abs(drawn)).astype(np.uint16)
    return found


@pytest.mark.parametrize("with_data", [True, False], ids=["data", "no data"])
@pytest.mark.parametrize("text", KINDS.values(), ids=KINDS)
def test_what_comes_out_computes_what_came_in(text, with_data, tmp_path):
    read = {name: x for name, x in WEIGHTS.items() if f"{name})" in text or f"({name}," in text}
    read |= {name: WEIGHTS[name] for name in "wv" if f", {name}" in text}
    path = write(tmp_path, model(text, **read))
    before = onnxruntime.InferenceSession(path)
    samples = [{k: torch.from_numpy(x) for k, x in inputs(before, n).items()} for n in range(8)]
    file, _ = tersor.load(path)
    q = tersor.quantize(file, **({"data": samples} if with_data else {"example": samples[0]}))
    result = q.export(tmp_path / "q.onnx")
    assert not getattr(result, "anew", "")
    after = onnxruntime.InferenceSession(tmp_path / "q.onnx")
    for own, new in zip(before.get_inputs(), after.get_inputs(), strict=True):
        assert (own.name, own.type, own.shape) == (new.name, new.type, new.shape)
    given = inputs(before, 50)
    (wanted,), (found,) = before.run(None, given), after.run(None, given)
    noise = np.square(np.subtract(found, wanted)).sum() / np.square(wanted).sum()
    assert noise < (0.003 if with_data else 0.03)
