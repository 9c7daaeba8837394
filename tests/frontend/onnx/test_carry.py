"""Nodes without an ATen form go in, are computed in onnxruntime, and come out as they were."""

import pickle

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper
from onnxruntime_extensions import get_library_path

import tersor
from tersor.errors import InvalidModelError, UnsupportedError
from tersor.export.kernels import optimized_nodes
from tersor.frontend.capture import capture
from tersor.graph import carried_model
from tersor.graph.carried import carried_nodes, part_ops, part_weights
from tersor.graph.carried_model import decode, encode
from tersor.graph.network import Network
from tests.frontend.onnx.files import model, random, write

DENSE = "a = MatMul(x, w) h = Relu(a)"


def recurrent(kind: str, gates: int) -> onnx.ModelProto:
    text = f"""g (float[N, 5, 4] x) => (float[N, 5, 2] y) {{
        c = MatMul(x, w) t = Transpose <perm = [1, 0, 2]> (c)
        r, last = {kind} <hidden_size = 6> (t, W, R, B)
        s = Constant <value_ints = [1]> () q = Squeeze(r, s)
        u = Transpose <perm = [1, 0, 2]> (q) y = MatMul(u, v) }}"""
    return model(
        text,
        w=random(4, 8),
        W=random(1, gates * 6, 8, seed=1),
        R=random(1, gates * 6, 6, seed=2),
        B=random(1, gates * 12, seed=3),
        v=random(6, 2, seed=4),
    )


def other_domain(text: str, domain: str, **weights: np.ndarray) -> onnx.ModelProto:
    made = model(text, **weights)
    made.opset_import.append(helper.make_opsetid(domain, 3 if domain == "ai.onnx.ml" else 1))
    return made


IF = model(
    f"""g (float[N, 4] x) => (float[N, 3] y) {{
        {DENSE} m = ReduceMean <keepdims = 0> (h) zero = Constant <value = float {{0}}> ()
        c = Greater(m, zero)
        z = If (c) <
            then_branch = t () => (float[N, 3] p) {{ p = Mul(h, scale) }},
            else_branch = e () => (float[N, 3] q) {{ q = Add(h, scale) }} >
        y = MatMul(z, v) }}""",
    w=random(4, 3),
    scale=random(3, seed=5),
    v=random(3, 3, seed=6),
)
LOOP = model(
    f"""g (float[N, 4] x) => (float[N, 3] y) {{
        {DENSE} n = Constant <value = int64 {{3}}> () go = Constant <value = bool {{1}}> ()
        z = Loop (n, go, h) <body = b (int64 i, bool c, float[N, 3] s) => (bool o, float[N, 3] r)
            {{ o = Identity(c) k = Mul(s, scale) r = Add(k, h) }} >
        y = MatMul(z, v) }}""",
    w=random(4, 3),
    scale=random(3, seed=5),
    v=random(3, 3, seed=6),
)
SCAN = model(
    f"""g (float[N, 4] x) => (float[N, 3] y) {{
        {DENSE} start = Constant <value_floats = [0.0, 0.0, 0.0]> ()
        last, z = Scan <num_scan_inputs = 1, body = b (float[3] s, float[3] t) =>
            (float[3] o, float[3] out)
            {{ o = Add(s, t) out = Mul(t, scale) }}> (start, h)
        y = MatMul(z, v) }}""",
    w=random(4, 3),
    scale=random(3, seed=5),
    v=random(3, 3, seed=6),
)
SCALER = other_domain(
    f"""g (float[N, 4] x) => (float[N, 3] y) {{
        {DENSE} z = ai.onnx.ml.Scaler <offset = [0.5, 1.0, 0.0], scale = [2.0, 1.0, 0.5]> (h)
        y = MatMul(z, v) }}""",
    "ai.onnx.ml",
    w=random(4, 3),
    v=random(3, 3, seed=6),
)
FUSED = other_domain(
    f"""g (float[N, 4] x) => (float[N, 3] y) {{
        {DENSE} z = com.microsoft.FusedMatMul <alpha = 0.5> (h, m)
        f = com.microsoft.Gelu (z) y = MatMul(f, v) }}""",
    "com.microsoft",
    w=random(4, 6),
    m=random(6, 5, seed=7),
    v=random(5, 3, seed=6),
)
ENCODED = other_domain(
    """g (float[N, 4] x) => (float[N, 3] y) {
        k = Cast <to = 7> (x) l = ai.onnx.ml.LabelEncoder <keys_int64s = [0, 1],
            values_floats = [3.0, 4.0], default_float = 1.0> (k)
        e = Add(l, x) a = MatMul(e, w) h = Relu(a) y = MatMul(h, v) }""",
    "ai.onnx.ml",
    w=random(4, 3),
    v=random(3, 3, seed=6),
)
TREE = other_domain(
    """g (float[N, 4] x) => (float[N, 3] y) {
        l = ai.onnx.ml.TreeEnsembleRegressor <n_targets = 2, nodes_falsenodeids = [2, 0, 0],
            nodes_featureids = [1, 0, 0], nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"],
            nodes_nodeids = [0, 1, 2], nodes_treeids = [0, 0, 0], nodes_truenodeids = [1, 0, 0],
            nodes_values = [0.5, 0.0, 0.0], target_ids = [0, 1], target_nodeids = [1, 2],
            target_treeids = [0, 0], target_weights = [1.0, 5.0]> (x)
        e = Concat <axis = 1> (l, x) a = MatMul(e, w) h = Relu(a) y = MatMul(h, v) }""",
    "ai.onnx.ml",
    w=random(6, 3),
    v=random(3, 3, seed=6),
)
KINDS = {
    "LSTM": recurrent("LSTM", 4),
    "GRU": recurrent("GRU", 3),
    "RNN": recurrent("RNN", 1),
    "If": IF,
    "Loop": LOOP,
    "Scan": SCAN,
    "ai.onnx.ml.Scaler": SCALER,
    "ai.onnx.ml.LabelEncoder": ENCODED,
    "ai.onnx.ml.TreeEnsembleRegressor": TREE,
    "com.microsoft.Gelu": FUSED,
}


def run(file, *inputs):
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))[0]


def example(made: onnx.ModelProto, batch: int = 7) -> np.ndarray:
    shape = made.graph.input[0].type.tensor_type.shape.dim
    return random(batch, *(dim.dim_value for dim in shape[1:]), seed=9)


def sqnr(wanted: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_with_such_a_node_goes_in_and_comes_out(kind, tmp_path):
    """Captured, quantized and written, against onnxruntime on the float file, at another batch."""
    file = write(tmp_path, KINDS[kind])
    x = example(KINDS[kind])
    wanted = run(file, x)
    loaded, _ = tersor.load(file)
    network = capture(loaded, torch.from_numpy(x[:2]))
    np.testing.assert_allclose(network(torch.from_numpy(x)).detach(), wanted, rtol=1e-4, atol=1e-5)
    parts = list(carried_nodes(network))
    assert kind in [part_ops(part) for part in parts]
    quantized = tersor.quantize(network, data=torch.from_numpy(x))
    written = quantized.export(tmp_path / "int8.onnx").path
    assert sqnr(wanted, run(written, x)) > 20
    simulated = quantized.network(torch.from_numpy(x)).detach().numpy()
    assert sqnr(simulated, run(written, x)) > 40
    assert kind in {
        n.op_type if n.domain == "" else f"{n.domain}.{n.op_type}"
        for n in onnx.load(written).graph.node
    }
    assert kind in str(quantized.summary())


def test_a_loop_gets_sizes_of_the_type_that_it_takes(tmp_path):
    """Files of TensorFlow compute with sizes in 32 bits, which are 64 bits in PyTorch."""
    text = """g (float[N, 4] x) => (float[N, 2] y) {
        a = MatMul(x, w) h = Relu(a) s = Shape(h) k = Cast <to = 6> (s) i = Gather(k, at)
        n = Constant <value = int64 {3}> () go = Constant <value = bool {1}> ()
        j, z = Loop (n, go, i, h) <body = b (int64 m, bool c, int32 p, float[N, 3] q)
            => (bool o, int32 e, float[N, 3] r)
            { o = Identity(c) e = Identity(p) f = Cast <to = 1> (p) r = Add(q, f) }>
        y = MatMul(z, v) }"""
    stored = {"w": random(4, 3), "v": random(3, 2, seed=1)}
    for place in (0, 1):  # the first size is open
        file = write(tmp_path, model(text, at=np.array(place), **stored))
        x = random(7, 4, seed=2)
        network = capture(tersor.load(file)[0], torch.from_numpy(x[:2]))
        found = network(torch.from_numpy(x)).detach()
        np.testing.assert_allclose(found, run(file, x), rtol=1e-4, atol=1e-5)


def test_products_of_sizes_behind_a_part_are_edited(tmp_path):
    """They are those of a value that is rounded now, and the file has nodes of its own for them."""
    text = """g (float[1, L, 4] x) => (float[L, 1, 2] y) {
        c = MatMul(x, w) t = Transpose <perm = [1, 0, 2]> (c)
        r, last = LSTM <hidden_size = 6> (t, W, R)
        d = Transpose <perm = [0, 2, 1, 3]> (r) q = Reshape(d, joined)
        s = Shape(q) i = Gather(s, zero) j = Gather(s, one) m = Mul(i, j)
        u = Unsqueeze(m, first) e = Concat <axis = 0> (u, six) f = Reshape(q, e)
        z = Gemm(f, v) k = Unsqueeze(i, first) l = Unsqueeze(j, first)
        h = Concat <axis = 0> (k, l, minus) y = Reshape(z, h) }"""
    numbers = {"joined": np.array([0, 0, -1]), "zero": np.int64(0), "one": np.int64(1)}
    numbers |= {"first": np.array([0]), "six": np.array([6]), "minus": np.array([-1])}
    weights = {"w": random(4, 8), "W": random(1, 24, 8), "R": random(1, 24, 6), "v": random(6, 2)}
    file = write(tmp_path, model(text, **numbers, **weights))
    quantized = tersor.quantize(tersor.load(file)[0], torch.from_numpy(random(1, 5, 4)))
    written = quantized.export(tmp_path / "int8.onnx")
    assert written.anew == ""
    x = random(1, 9, 4, seed=9)
    simulated = quantized.network(torch.from_numpy(x)).detach().numpy()
    assert simulated.shape == (9, 1, 2)
    assert sqnr(simulated, run(written.path, x)) > 40


def captured(kind: str, folder) -> Network:
    loaded, _ = tersor.load(write(folder, KINDS[kind]))
    return capture(loaded, torch.from_numpy(example(KINDS[kind])))


def test_weights_are_stored_under_the_names_of_the_file(tmp_path):
    network = captured("LSTM", tmp_path)
    assert {"W", "R", "B", "w", "v"} == set(network.module.state_dict())
    (part,) = carried_nodes(network)
    assert part_weights(network, part) == 24 * 8 + 24 * 6 + 48


def test_a_copy_and_a_pickle_need_nothing_else(tmp_path):
    network = captured("If", tmp_path)
    x = torch.from_numpy(example(IF))
    again = pickle.loads(pickle.dumps(network))  # noqa: S301
    torch.testing.assert_close(again(x), network(x), rtol=0, atol=0)
    torch.testing.assert_close(network.copy()(x), network(x), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["LSTM", "If", "com.microsoft.Gelu"])
def test_without_data(kind, tmp_path):
    network = captured(kind, tmp_path)
    quantized = tersor.quantize(network, input_range=(-3.0, 3.0))
    written = quantized.export(tmp_path / "int8.onnx").path
    x = example(KINDS[kind])
    assert sqnr(run(tmp_path / "model.onnx", x), run(written, x)) > 15
    assert sqnr(quantized.network(torch.from_numpy(x)).detach().numpy(), run(written, x)) > 40


def test_training_in_front_of_a_part_is_refused(tmp_path):
    network = captured("LSTM", tmp_path)
    with pytest.raises(
        UnsupportedError, match=r"'r' \(LSTM\) is computed by onnxruntime, and no grad"
    ):
        network(torch.from_numpy(example(KINDS["LSTM"]))).sum().backward()


def test_onnxruntime_gives_its_reason(tmp_path):
    text = "g (float[N, 4] x) => (float[N, 4] y) { c = com.acme.Magic(x) y = Relu(c) }"
    loaded, _ = tersor.load(write(tmp_path, other_domain(text, "com.acme")))
    with pytest.raises(UnsupportedError, match=r"'c' \(com.acme.Magic\).*--custom-ops"):
        capture(loaded, torch.ones(2, 4))


def boxes(count):
    """A detector's head: features of boxes, which are inputs, in the picture that each lies in."""
    text = f"""g (float[1, 3, 8, 8] x, float[{count}, 4] boxes, int64[{count}] pictures)
        => (float[{count}, 4, 2, 2] y) {{
        c = Conv <pads = [1, 1, 1, 1]> (x, w)
        y = RoiAlign <output_height = 2, output_width = 2, sampling_ratio = 1> (
            c, boxes, pictures) }}"""
    return model(text, w=random(4, 3, 3, 3))


def test_drawn_boxes_lie_in_the_first_picture(tmp_path):
    """Zeros and ones would be drawn, and there may be only one picture."""
    result = tersor.quantize(write(tmp_path, boxes(9)))
    assert result.network.args[2].tolist() == [0] * 9
    result.export(tmp_path / "q.onnx")


def test_where_drawn_inputs_do_not_fit_samples_are_asked_for(tmp_path):
    """onnxruntime counts the points of these boxes, which are no boxes, below zero."""
    made = boxes(9)
    del made.graph.node[1].attribute[-1]
    with pytest.raises(InvalidModelError, match=r"RoiAlign.*give samples \(data=, --data\)"):
        tersor.quantize(write(tmp_path, made))


def test_a_library_of_custom_ops_is_used_if_the_user_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(carried_model, "_libraries", {})
    text = """g (float[N, 4] x) => (float[N, 3] y) {
        a = MatMul(x, w) n, p = ai.onnx.contrib.NegPos (a) d = Sub(p, n) y = MatMul(d, v) }"""
    made = other_domain(text, "ai.onnx.contrib", w=random(4, 8), v=random(8, 3, seed=1))
    file, x = write(tmp_path, made), torch.from_numpy(random(16, 4, seed=2))
    with pytest.raises(UnsupportedError, match="--custom-ops"):
        capture(tersor.load(file)[0], x)
    loaded, _ = tersor.load(file, custom_ops=get_library_path())
    quantized = tersor.quantize(loaded, data=x)
    wanted = np.abs(x.numpy() @ random(4, 8)) @ random(8, 3, seed=1)
    assert sqnr(wanted, quantized(x).detach().numpy()) > 25
    checked = quantized.verify(quantized.export(tmp_path / "int8.onnx").path, x, latency=False)
    assert checked.sqnr > 40


def test_layers_of_other_domains_count_as_float(tmp_path):
    text = """g (float[N, 4] x) => (float[N, 3] y) {
        h = com.microsoft.FusedGemm <activation = "Softplus"> (x, w, b) y = MatMul(h, v) }"""
    made = other_domain(text, "com.microsoft", w=random(4, 8), b=random(8), v=random(8, 3))
    quantized = tersor.quantize(tersor.load(write(tmp_path, made))[0], data=random(16, 4))
    checked = quantized.verify(quantized.export(tmp_path / "int8.onnx").path, latency=False)
    assert checked.integer_share == 0.5
    assert "FusedGemm of com.microsoft is carried over" in checked.in_float[0][1]


def test_an_op_that_needs_the_sizes_of_its_weights(tmp_path):
    text = """g (int32[N, 5] ids, int32[N, 5] kinds, int32[N, 5] mask) => (float[N, 5, 8] y) {
        y, used = com.microsoft.EmbedLayerNormalization (ids, kinds, t, p, s, g, b, mask) }"""
    stored = {"t": random(10, 8), "p": random(6, 8), "s": random(2, 8), "g": random(8)}
    file = write(tmp_path, other_domain(text, "com.microsoft", b=random(8), **stored))
    ids = torch.arange(40, dtype=torch.int32).reshape(8, 5) % 10
    given = (ids, ids % 2, torch.ones_like(ids))
    network = capture(tersor.load(file)[0], tuple(x[:2] for x in given))
    wanted = run(file, *(x.numpy() for x in given))
    np.testing.assert_allclose(network(*given).detach(), wanted, rtol=1e-4, atol=1e-5)


RANDOM = ["RandomNormal <shape = [4]> ()", "Bernoulli(x)", "Dropout(x, half, yes)"]


def test_a_sequence_without_steps_is_refused(tmp_path):
    """onnxruntime would end the process."""
    text = "g (float[L, N, 8] x) => (float[L, 1, N, 6] y) { y = GRU <hidden_size = 6> (x, W, R) }"
    made = model(text, W=random(1, 18, 8), R=random(1, 18, 6, seed=2))
    loaded, _ = tersor.load(write(tmp_path, made))
    with pytest.raises(InvalidModelError, match=r"'y' \(GRU\) reads an empty sequence"):
        loaded(torch.zeros(0, 2, 8))


@pytest.mark.parametrize("op", RANDOM)
def test_random_numbers_are_refused(op, tmp_path):
    text = f"g (float[N, 4] x) => (float[N, 4] y) {{ r = {op} y = Add(x, r) }}"
    made = model(text, half=np.float32(0.5), yes=np.array(True))
    loaded, _ = tersor.load(write(tmp_path, made))
    with pytest.raises(UnsupportedError, match="draws random numbers"):
        capture(loaded, torch.ones(2, 4))


@pytest.mark.parametrize(
    "damage", [lambda t: t[:-9], lambda t: f"1{t}", lambda t: "", lambda t: t[:40] + "A" + t[41:]]
)
def test_damaged_text(damage):
    text = encode(IF)
    assert decode(text) == IF
    with pytest.raises(InvalidModelError, match="is damaged"):
        decode(damage(text))


def test_a_domain_of_two_lines_is_named_on_one(tmp_path):
    damaged = model("g (float[2, 4] x) => (float[2, 4] y) { y = Relu(x) }")
    damaged.graph.node[0].domain = "a\nb"
    damaged.opset_import.add(domain="a\nb", version=1)
    loaded, _ = tersor.load(write(tmp_path, damaged))
    assert loaded.nodes[0].op == "a b.Relu"


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_weights_of_recurrent_layers_are_stored_in_8_bits(kind, tmp_path):
    quantized = tersor.quantize(captured(kind, tmp_path), input_range=(-3.0, 3.0))
    written = quantized.export(tmp_path / "int8.onnx").path
    stored = {x.name: x.data_type for x in onnx.load(written).graph.initializer}
    assert stored["W"] == stored["R"] == onnx.TensorProto.INT8
    nodes = optimized_nodes(written, ())
    (layer,) = (node for node in nodes if node.op_type == kind)
    assert not {*layer.input[1:3]} & {value for node in nodes for value in node.output}
    checked = quantized.verify(written, latency=False)
    assert checked.integer_share == pytest.approx(2 / 3)
    assert any(kind in reason for _, reason in checked.in_float)


def test_a_shape_behind_an_activation_keeps_no_layer_in_float(tmp_path):
    """Exporters read the batch for the state of a recurrent layer from the layer's own input."""
    text = """g (float[N, 4, 5] x) => (float[N, 8, 2] y) {
        c = Conv <kernel_shape = [3], pads = [1, 1]> (x, w) r = Relu(c)
        t = Transpose <perm = [0, 2, 1]> (r) s = Shape(t) zero = Constant <value_ints = [0]> ()
        n = Gather <axis = 0> (s, zero) rest = Constant <value_ints = [-1, 5]> ()
        all = Concat <axis = 0> (n, rest) f = Reshape(r, all) y = MatMul(f, v) }"""
    made = model(text, w=random(8, 4, 3), v=random(5, 2, seed=1))
    made.graph.value_info.append(helper.make_tensor_value_info("t", 1, ["N", 5, 8]))
    loaded, _ = tersor.load(write(tmp_path, made))
    quantized = tersor.quantize(loaded, input_range=(-3.0, 3.0))
    checked = quantized.verify(quantized.export(tmp_path / "int8.onnx").path, latency=False)
    assert checked.in_float == []
    assert min(c.sqnr for c in checked.exported.values()) > 40


def test_a_file_with_nothing_but_a_recurrent_layer(tmp_path):
    text = """g (float[L, N, 8] x) => (float[L, 1, N, 6] y) {
        y = LSTM <hidden_size = 6> (x, W, R) }"""
    made = model(text, W=random(1, 24, 8), R=random(1, 24, 6, seed=2))
    loaded, _ = tersor.load(write(tmp_path, made))
    x = torch.from_numpy(random(4, 3, 8, seed=3))
    quantized = tersor.quantize(loaded, x, data=[x])
    written = quantized.export(tmp_path / "int8.onnx").path
    wanted, found = (run(file, x.numpy()) for file in (tmp_path / "model.onnx", written))
    assert sqnr(wanted, found) > 35
    with pytest.raises(InvalidModelError, match=r"already quantized \('W' and 1 more .*--dequant"):
        tersor.load(written)
    again = capture(tersor.load(written, dequantize=True)[0], x)
    np.testing.assert_allclose(again(x).detach(), found, rtol=1e-4, atol=1e-5)


BEHIND = model(
    """g (float[N, 4] x) => (float[N, 3] y) {
        a = MatMul(x, w) h = Relu(a) b = MatMul(h, u) n = Constant <value = int64 {2}> ()
        go = Constant <value = bool {1}> ()
        y = Loop (n, go, b) <body = l (int64 i, bool c, float[N, 3] s) => (bool o, float[N, 3] r)
            { o = Identity(c) r = Mul(s, s) }> }""",
    w=random(4, 16),
    u=random(16, 3, seed=1),
)


@pytest.mark.parametrize("made", [KINDS["LSTM"], BEHIND], ids=["nothing to prune", "in front"])
def test_a_file_with_a_part_is_compressed_around_it(made, tmp_path):
    loaded, _ = tersor.load(write(tmp_path, made))
    x = torch.from_numpy(example(made, 32))
    compressed = tersor.compress(loaded, x[:2], macs=0.9, data=x)
    assert compressed.network(x).isfinite().all()
    assert compressed.export(tmp_path / "small.onnx").path.exists()
