"""Outliers of what linear layers read move into their weights: the function stays, noise goes."""

import copy
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import tersor
from tersor.core.metrics import sqnr
from tersor.errors import InvalidInputError
from tersor.export.kernels import kernels
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.capture import capture
from tersor.graph.network import Applied, Network, Skipped, get_tensor
from tersor.graph.simplify import simplify
from tersor.quant.adaround import AdaRound
from tersor.quant.placement.place import place
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tersor.quant.shared_copy import shared_copy
from tersor.quant.smooth import STEP, Smoothing, may_smooth, smooth
from tests.captured import assert_same_function, captured
from tests.frontend.onnx.files import model as file_model
from tests.frontend.onnx.files import random, write
from tests.quant.transformers import WIDTH, Block, sentences
from tests.zoo import ZOO

aten = torch.ops.aten
FEW = Smoothing(strengths=(0.5, 0.8), floors=(0.01, 0.3))
#: Whatever is a little better is smoothed.
ANY = Smoothing(strengths=(0.3, 0.5), floors=(0.1,), least_gain=0.0, enough=0.0)


def smoothed(network: Network, batches, options=FEW, bits=None) -> Network:
    """A network without quantizers, edited in place."""
    placed = shared_copy(network)
    place(placed, ONNXRUNTIME_CPU, bits=bits or {})
    smooth(network, placed, ONNXRUNTIME_CPU, batches, options)
    return network


def of_module(module, options=FEW, samples=32, bits=None) -> Network:
    network = capture(module.eval(), sentences(2))
    simplify(network)
    return smoothed(network, [((sentences(samples),), {})], options, bits)


def done(network) -> dict[str, Applied]:
    """What was smoothed."""
    return {r.layer: r for r in network.records if isinstance(r, Applied) and r.step == STEP}


def reasons(network) -> set[str]:
    """Why something was not."""
    return {r.reason for r in network.records if isinstance(r, Skipped) and r.step == STEP}


def products(network) -> list[str]:
    found = network.graph.find_nodes(op="call_function", target=aten.mul.Tensor)
    return [node.name for node in found if node.name.endswith("_smoothed")]


@pytest.mark.parametrize("name", ZOO)
def test_the_function_of_every_network_stays(name):
    network, case = captured(name), ZOO[name]
    simplify(network)
    if may_smooth(network, ONNXRUNTIME_CPU):
        batches = [(case.args(torch.float64, 12, 3), case.kwargs(torch.float64, 12, 3))]
        smoothed(network, batches, ANY)
    others = [(case.args(torch.float64, 3, 7), case.kwargs(torch.float64, 3, 7))]
    assert_same_function(network, case.make().double(), others, tolerance=1e-10)


@pytest.mark.parametrize("norm_first", [True, False])
def test_the_function_of_a_transformer_stays_with_outliers_moved(norm_first):
    block = Block(norm_first)
    before = copy.deepcopy(block.state_dict())
    network = of_module(block)
    assert len(done(network)) == 3
    x = sentences(8, seed=5)
    torch.testing.assert_close(network(x), block(x), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())


def test_a_norm_takes_the_factors_up_where_nothing_else_reads_it():
    network = of_module(Block(norm_first=True))
    assert products(network) == ["gelu_smoothed"]
    assert not torch.equal(get_tensor(network.module, "norm1.weight"), Block().norm1.weight)


def test_a_shortcut_reads_the_value_as_it_was():
    network = of_module(Block(norm_first=False))
    norms = [node for node in network.graph.nodes if node.target is aten.layer_norm.default]
    assert len(products(network)) == 3
    for norm in norms:
        assert {str(user.target) for user in norm.users} == {"aten.mul.Tensor", "aten.add.Tensor"}
    assert torch.equal(get_tensor(network.module, "norm1.weight"), Block().norm1.weight)


def test_the_records_say_what_was_gained():
    record = done(of_module(Block()))["gelu → contract"]
    assert record.what == "outliers moved into the weights by a product in front of the layer"
    assert record.numbers["error after"] < record.numbers["error before"] / 2
    assert record.numbers["strength"] in FEW.strengths
    assert record.numbers["floor"] in FEW.floors


class Tied(nn.Module):
    """One matrix reads two values."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.linear = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return self.linear(torch.tanh(self.linear(self.norm(x)) * 5))


REFUSED = {
    "other calls": (Tied, 32, None, "other calls read the same weights"),
    "few bits": (Block, 32, {"*": 4}, "the weights have 4 bits, which leaves no room for outliers"),
    "few samples": (Block, 3, None, "there are too few samples to choose a strength by"),
    "no outliers": (
        lambda: Block(spread=1.0),
        32,
        None,
        "its layers would hardly be more accurate",
    ),
}


@pytest.mark.parametrize(("module", "samples", "bits", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_smoothed_is_told_and_stays(module, samples, bits, reason):
    module = module()
    network = of_module(module, samples=samples, bits=bits)
    assert not done(network)
    assert reason in reasons(network)
    assert not products(network)
    x = sentences(4)
    assert torch.equal(network(x), capture(module, sentences(2))(x))


def test_convolutions_and_what_integer_kernels_write_are_left_alone():
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    assert not may_smooth(capture(module.eval(), torch.randn(2, 3, 8, 8)), ONNXRUNTIME_CPU)
    module = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    assert not may_smooth(capture(module.eval(), torch.randn(2, 8)), ONNXRUNTIME_CPU)


@pytest.mark.parametrize("options", [{"strengths": (1.5,)}, {"floors": (1.0,)}, {"samples": 0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(InvalidInputError):
        Smoothing(**options)


@cache
def quantized(smooth: bool) -> tersor.Quantized:
    options = tersor.WithData(rounding=None, smooth=Smoothing() if smooth else None)
    return tersor.quantize(
        Block(norm_first=False).eval(),
        sentences(2),
        data=sentences(64),
        scheme="onnxruntime-vnni",
        options=options,
        tolerance=None,
    )


def decibels(run) -> float:
    x = sentences(32, seed=9)
    with torch.no_grad():
        return sqnr(Block(norm_first=False)(x), run(x))


def test_a_transformer_with_outliers_is_good_with_it_and_not_without(tmp_path):
    """In the simulation and in onnxruntime, with every layer on integers."""
    plain, better = quantized(smooth=False), quantized(smooth=True)
    assert decibels(plain.network) < 22
    assert decibels(better.network) > decibels(plain.network) + 6
    path = better.export(tmp_path / "model.onnx").path
    runtime = Runtime(path)
    found = decibels(lambda x: torch.from_numpy(runtime((x,))[runtime.outputs[0]].copy()))
    assert found > decibels(plain.network) + 6
    assert all(layer.is_integer for layer in kernels(path))
    assert "smooth" in str(better.summary())


def test_a_saved_result_computes_the_same(tmp_path):
    q = quantized(smooth=True)
    q.save(tmp_path / "q.tersor")
    x, loaded = sentences(8, seed=9), tersor.load(tmp_path / "q.tersor")
    assert isinstance(loaded, tersor.Quantized)
    assert torch.equal(loaded.network(x), q.network(x))


@pytest.mark.parametrize(
    "options",
    [tersor.WithData(), tersor.WithData(rounding=AdaRound(iterations=20))],
    ids=["fast", "AdaRound"],
)
def test_solvers_round_what_was_smoothed(options):
    q = tersor.quantize(
        Block(norm_first=False).eval(),
        sentences(2),
        data=sentences(64),
        scheme="onnxruntime-vnni",
        options=options,
        tolerance=None,
    )
    assert decibels(q.network) > decibels(quantized(smooth=False).network) + 6


def test_training_goes_on_from_it():
    q = quantized(smooth=True)
    batches = [sentences(16, seed) for seed in range(2)]
    trained = tersor.train(q, batches, options=tersor.Training(epochs=1, rate=1e-4))
    assert decibels(trained.network) > decibels(quantized(smooth=False).network) + 3


FILE = """agraph (float[N, 6, 16] x) => (float[N, 6, 24] y, float[N, 6, 16] z) {
    n = LayerNormalization <axis = -1> (x, g, b) c = Mul(n, half) z = Sin(c)
    h = MatMul(n, w) a = Add(h, v) t = MatMul(n, w) y = Add(a, t) }"""
SHARED = """agraph (int64[N] i, float[N, 16] x) => (float[N, 12] y, float[N, 16] z) {
    n = LayerNormalization <axis = -1> (x, g, b) c = Mul(n, half) z = Sin(c)
    y = Gemm <transB = 1> (n, table, v) e = Gather(table, i) s = Add(e, z) }"""
SPREAD = np.where(np.arange(16) // 2 == 1, 60, 1).astype(np.float32)
NORM = {"g": SPREAD, "b": random(16), "half": np.float32(0.5)}


def of_file(path, out, data, smoothing):
    """A file, quantized and written, with its decibels in onnxruntime."""
    options = tersor.WithData(rounding=None, smooth=smoothing)
    q = tersor.quantize(path, data=data, options=options, tolerance=None)
    result = q.export(out)
    assert not result.anew
    wanted, given = (Runtime(file)(data)["y"].copy() for file in (path, result.path))
    assert all(layer.is_integer for layer in kernels(result.path))
    return q, sqnr(torch.from_numpy(wanted), torch.from_numpy(given))


@pytest.mark.parametrize("opset", [17, 21])
def test_a_file_that_came_in_is_edited(tmp_path, opset):
    """One matrix is read twice, and so is the norm, by layers and by what stays in float."""
    weights = {"w": random(16, 24) / SPREAD[:, None], "v": random(24)}
    path = write(tmp_path, file_model(FILE, opset, **NORM, **weights))
    data = (sentences(64),)
    _, plain = of_file(path, tmp_path / "plain.onnx", data, None)
    q, found = of_file(path, tmp_path / "int8.onnx", data, Smoothing())
    assert found > plain + 6
    assert len(done(q.network)) == 1
    x = sentences(8, seed=9)
    z = Runtime(tmp_path / "int8.onnx")((x,))["z"]
    assert np.array_equal(z, Runtime(path)((x,))["z"])


def test_a_matrix_that_is_also_a_table_is_left_alone(tmp_path):
    weights = {"table": random(12, 16) / SPREAD, "v": random(12)}
    text = SHARED.replace("float[N, 16] z)", "float[N, 16] s)")
    path = write(tmp_path, file_model(text, **NORM, **weights))
    data = (torch.arange(64) % 12, sentences(64)[:, 0])
    q, _ = of_file(path, tmp_path / "int8.onnx", data, Smoothing())
    assert reasons(q.network) == {"other calls read the same weights"}
