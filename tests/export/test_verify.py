"""Verification finds what is equal, what is not, and which layers stayed in float."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tersor.core.grid import Grid
from tersor.errors import InvalidInputError
from tersor.export.kernels import Kernel, kernels
from tersor.export.onnx.writer import export_onnx
from tersor.export.proof import contest
from tersor.export.proof.tally import Tally
from tersor.export.proof.verify import Options, verify
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.quant.noise.simulated import Simulation
from tests.export.models import quantize_by_hand, small

SAFE = Grid(7, signed=True, symmetric=True)
OPEN = {"input": {0: "batch", 2: "height", 3: "width"}}


@pytest.fixture(scope="module")
def reference():
    """A network whose logits have the sum 0, as training leaves them."""
    network = small()
    (head,) = [layer for layer in layers(network) if layer.is_linear]
    weight = head.weight.detach()
    network.replace_tensor(head.weight_node, weight - weight.mean(0))
    return network


@pytest.fixture(scope="module")
def simulation(reference):
    return quantize_by_hand(reference.copy(), weight=SAFE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, reference, simulation):
    folder = tmp_path_factory.mktemp("verify")
    export_onnx(reference, folder / "float.onnx", expected=False)
    export_onnx(simulation, folder / "int8.onnx")
    return folder


@pytest.fixture(scope="module")
def images():
    return torch.randn(70, 3, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def verification(reference, simulation, folder, images):
    return verify(reference, simulation, folder / "int8.onnx", images)


def test_figures_are_those_of_a_direct_computation(verification, reference, simulation, images):
    wanted, given = reference(images).detach(), simulation(images).detach()
    noise = 10 * math.log10(float(wanted.square().sum() / (wanted - given).square().sum()))
    comparison = verification.quantized["output"]
    assert verification.samples == 70
    assert comparison.sqnr == pytest.approx(noise, abs=0.1)
    assert comparison.max_difference == pytest.approx(float((wanted - given).abs().max()), rel=0.05)
    assert comparison.max_value == pytest.approx(float(wanted.abs().max()), rel=1e-4)
    agreement = float((wanted.argmax(1) == given.argmax(1)).float().mean())
    assert comparison.top1 == pytest.approx(agreement, abs=2 / 70)


def test_file_and_kernels_agree_with_the_simulation(verification):
    assert verification.exported["output"].sqnr > 40
    assert verification.sqnr > 40
    assert verification.agreement >= 0.97
    assert verification.integer_share == 1.0
    assert verification.in_float == []
    assert not any("simulated" in doubt for doubt in verification.doubts)
    assert [kernel.kernel for kernel in verification.kernels] == ["QLinearConv"] * 2 + ["QGemm"]


def test_what_lies_beside_a_file_counts_if_the_file_refers_to_it(folder, images, tmp_path):
    plain, beside = tmp_path / "plain.onnx", tmp_path / "beside.onnx"
    model = onnx.load(folder / "float.onnx")
    onnx.save(model, plain)
    kept = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 64}
    onnx.save(model, beside, **kept)
    for stale in ("plain.onnx.data", "beside.onnx.data"):
        (tmp_path / stale).write_bytes(bytes(10_000))
    found = verify(plain, None, beside, images[:2], Options(latency=False))
    assert found.float_bytes == plain.stat().st_size
    weights = (tmp_path / "weights.bin").stat().st_size
    assert weights > 64
    assert found.bytes == beside.stat().st_size + weights


def test_size_and_latency(verification, folder):
    assert verification.bytes == (folder / "int8.onnx").stat().st_size
    assert verification.float_bytes == (folder / "float.onnx").stat().st_size
    assert verification.latency.float_ms > 0
    assert verification.latency.ms > 0
    assert 0.01 < verification.latency.ratio < 100


def test_plain_data_is_json(verification):
    data = json.loads(json.dumps(verification.as_dict(), allow_nan=False))
    assert data["samples"] == 70
    assert data["runtime"]["output"]["sqnr_db"] <= 200
    assert data["latency"]["ratio"] == verification.latency.ratio
    assert data["integer_share"] == 1.0
    assert ("integer kernels", "3 of 3 layers") in verification.rows()


def test_many_layers_in_float_for_one_reason_are_one_row(verification):
    named = [Kernel(f"layer{i}", "Conv", "Conv", "it is INT4") for i in range(9)]
    odd = Kernel("up", "ConvTranspose", "ConvTranspose", "it is transposed")
    rows = replace(verification, kernels=(*named, odd)).rows()
    assert rows[-2][0] == "in float: 9 layers"
    assert rows[-2][1].startswith("it is INT4: layer0, layer1, ")
    assert rows[-1] == ("in float: up", "it is transposed")


def test_a_wrong_file_is_noticed(reference, simulation, folder, images, tmp_path):
    """One weight changed: neither the file nor the kernels agree with the simulation any more."""
    model = onnx.load(str(folder / "int8.onnx"))
    (tensor,) = [t for t in model.graph.initializer if t.name == "head.weight"]
    values = -numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(values, "head.weight"))
    onnx.save(model, str(tmp_path / "wrong.onnx"))
    result = verify(reference, simulation, tmp_path / "wrong.onnx", images, Options(latency=False))
    assert result.exported["output"].sqnr < 10
    assert result.sqnr < 10
    assert result.latency is None
    (told,) = [doubt for doubt in result.doubts if "not what was simulated" in doubt]
    assert re.search(r"'output' .*: -?\d+\.\d dB without integer kernels, and \d+\.\d dB", told)
    assert result.verdict.grade != "good"


def test_two_files_without_a_simulation(folder, images):
    result = verify(
        folder / "float.onnx", None, folder / "int8.onnx", images, Options(latency=False)
    )
    assert result.exported == {}
    assert result.sqnr > 40
    assert result.quantized["output"].sqnr > 15


def test_batches_add_up(reference, simulation, folder, images, verification):
    def generator():
        yield from images.split(9)

    result = verify(
        reference, simulation, folder / "int8.onnx", generator(), Options(latency=False)
    )
    assert result.samples == 70
    assert result.quantized["output"].sqnr == pytest.approx(
        verification.quantized["output"].sqnr, abs=0.01
    )


@pytest.mark.parametrize("source", ["argument", "array", "loader"])
def test_labels(source, reference, simulation, folder, images):
    labels = reference(images).argmax(1)
    path = folder / "int8.onnx"
    if source == "loader":
        data = DataLoader(TensorDataset(images, labels), batch_size=16)
        result = verify(reference, simulation, path, data, Options(latency=False))
    else:
        given = labels if source == "argument" else labels.numpy()
        result = verify(reference, simulation, path, images, Options(labels=given, latency=False))
    assert result.accuracy["float"] == 1.0
    assert result.accuracy["runtime"] == pytest.approx(result.quantized["output"].top1)
    assert set(result.accuracy) == {"float", "runtime"}
    few = verify(
        reference, simulation, path, images[:60], Options(labels=labels[:60], latency=False)
    )
    assert set(few.accuracy) == {"float", "simulation", "exact", "runtime"}


@pytest.mark.parametrize(("at_once", "closely"), [(6, 2), (20, 16)])  # 16 tell what an output is
def test_a_batch_is_cut_where_the_samples_of_all_models_end(
    reference, simulation, folder, images, monkeypatch, at_once, closely
):
    monkeypatch.setattr(contest, "closely", lambda _: 2)
    monkeypatch.setattr(contest, "at_once", lambda *_: at_once)
    found = verify(reference, simulation, folder / "int8.onnx", images[:30], Options(latency=False))
    assert (found.samples, found.closely) == (30, closely)
    parts = list(images[:30].split(5))
    several = verify(reference, simulation, folder / "int8.onnx", parts, Options(latency=False))
    assert (several.samples, several.closely) == (30, 2 if at_once == 6 else 5)


def test_both_files_are_timed_as_they_were_loaded_to_be_compared(
    reference, simulation, folder, images, monkeypatch
):
    loaded, start = [], Runtime.__init__
    monkeypatch.setattr(
        Runtime, "__init__", lambda s, *a, **k: loaded.append((a, k)) or start(s, *a, **k)
    )
    assert verify(reference, simulation, folder / "int8.onnx", images[:8]).latency is not None
    timed = [given for given in loaded if given[1].get("config") and len(given[0]) == 1]
    assert sum("optimized_path" not in given[1] for given in timed) == 2


def test_of_many_samples_the_first_run_in_all_models(
    reference, simulation, folder, images, monkeypatch
):
    path, ran = folder / "int8.onnx", []
    plain = Simulation.__call__
    monkeypatch.setattr(
        Simulation, "__call__", lambda s, x: ran.append(len(x[0][0])) or plain(s, x)
    )
    many = verify(reference, simulation, path, images.repeat(2, 1, 1, 1), Options(latency=False))
    few = verify(reference, simulation, path, images[:64], Options(latency=False))
    assert (many.samples, many.closely, few.samples, few.closely) == (140, 64, 64, 64)
    assert sum(ran) == 128
    for name in ("exported", "runtime", "simulated", "first"):
        assert getattr(many, name) == getattr(few, name)
    assert many.quantized != few.quantized
    assert few.first == few.quantized
    assert "on the first 64 samples" in str(many)
    assert "on the first" not in str(few)


def test_large_samples_run_a_few_at_a_time(tmp_path):
    network = capture(nn.Conv2d(1, 1, 3).eval(), torch.zeros(2, 1, 9, 9), dynamic=OPEN)
    export_onnx(network, tmp_path / "float.onnx")
    ran = []

    def metric(outputs, _):
        ran.append(len(outputs))
        return 0.0

    path, x = tmp_path / "float.onnx", torch.zeros(5, 1, 600, 700)
    sizes, run = [], Runtime.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runtime, "run", lambda s, f: sizes.append(len(f["input"])) or run(s, f))
        verify(path, None, path, x, Options(latency=False))
    assert set(sizes) == {2, 1}
    verify(path, None, path, x, Options(latency=False, metric=metric))
    assert ran == [5]  # a metric sees what it is told to see


def test_labels_that_do_not_fit(reference, simulation, folder, images):
    with pytest.raises(InvalidInputError, match="69 labels for 70 predictions"):
        verify(reference, simulation, folder / "int8.onnx", images, Options(labels=torch.zeros(69)))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.randn(2, 1, 8, 8), r"'image' has shape \(2, 1, 8, 8\).*\[batch, 3, 8, 8\]"),
        ([], "no batch"),
        ((torch.randn(2, 3, 8, 8), torch.randn(2, 5)), r"takes 1 input"),
    ],
)
def test_inputs_that_do_not_fit(inputs, message, reference, simulation, folder):
    with pytest.raises(InvalidInputError, match=message):
        verify(reference, simulation, folder / "int8.onnx", inputs)


def test_models_of_different_kinds(folder, images, tmp_path):
    class Both(nn.Module):
        def forward(self, image):
            return image.sum((2, 3)), image

    export_onnx(capture(Both(), images[:2]), tmp_path / "both.onnx")
    with pytest.raises(InvalidInputError, match=r"outputs \['output_0', 'output_1'\]"):
        verify(tmp_path / "both.onnx", None, folder / "int8.onnx", images)


class Mixed(nn.Module):
    """Layers that stay in float, each for a reason of its own."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.fork = nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = self.fork(self.up(self.first(x)))
        return {"fork": x, "last": self.last(x), "index": x.argmax(1)}


def test_outputs_of_many_kinds(tmp_path):
    reference = capture(Mixed(), torch.randn(2, 3, 6, 6))
    simulation = quantize_by_hand(reference.copy(), weight=SAFE)
    path = export_onnx(simulation, tmp_path / "mixed.onnx").path
    result = verify(reference, simulation, path, torch.randn(3, 3, 6, 6), Options(latency=False))
    assert list(result.runtime) == ["fork", "last", "index"]
    assert result.agreement is None
    assert dict(result.in_float).keys() == {"up"}
    assert "transposed" in dict(result.in_float)["up"]
    assert result.integer_share == 0.75


@pytest.mark.parametrize(
    ("removed", "layer", "reason"),
    [
        ("quantizers.conv1_weight", "conv1", "weight is not quantized"),
        ("quantizers.image", "conv1", "input is not quantized"),
        ("quantizers.conv2d_1", "conv2", "output is not quantized but read by Add"),
    ],
)
def test_reasons_for_float(removed, layer, reason, tmp_path):
    network = quantize_by_hand(small(), weight=SAFE)
    network.module.get_submodule(removed).enabled = False
    path = export_onnx(network, tmp_path / "a.onnx").path
    found = {kernel.layer: kernel for kernel in kernels(path)}
    assert not found[layer].is_integer
    assert reason in found[layer].reason
    assert found["head"].is_integer


def test_int4_storage_is_named_as_the_reason(tmp_path):
    network = quantize_by_hand(small(), weight=Grid(4, signed=True, symmetric=True))
    export_onnx(network, tmp_path / "int8.onnx")
    export_onnx(network, tmp_path / "int4.onnx", storage="int4")
    assert all(kernel.is_integer for kernel in kernels(tmp_path / "int8.onnx"))
    assert all("INT4" in kernel.reason for kernel in kernels(tmp_path / "int4.onnx"))


def test_unnamed_nodes_are_found_by_their_weights(folder, tmp_path):
    model = onnx.load(str(folder / "int8.onnx"))
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, str(tmp_path / "unnamed.onnx"))
    assert [k.is_integer for k in kernels(tmp_path / "unnamed.onnx")] == [True] * 3


def test_precise_session_has_integer_kernels_too(folder):
    found = kernels(folder / "int8.onnx", {"session.x64quantprecision": "1"})
    assert np.all([kernel.is_integer for kernel in found])


def test_nan_is_never_called_equal():
    tally = Tally()
    tally.add(np.array([[1.0, np.nan]], np.float32), np.array([[1.0, 2.0]], np.float32))
    assert "equal" not in str(tally.comparison())
    assert tally.comparison().as_dict()["sqnr_db"] == -200.0
    tally = Tally()
    tally.add(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32))
    assert str(tally.comparison()) == "equal"


def test_computed_weights_and_branches_count_as_layers(tmp_path):
    """Written by hand, so that nothing simplifies what is computed."""
    info, make = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    floats = np.random.default_rng(0).standard_normal((4, 3, 3, 3), np.float32)
    stored = [
        numpy_helper.from_array(floats, "w"),
        numpy_helper.from_array(floats[0, :, :, 0].copy(), "v"),
    ]
    result = info("z", onnx.TensorProto.FLOAT, None)
    then = onnx.helper.make_graph(
        [make("MatMul", ["m", "v"], ["z"], "inner")], "then", [], [result]
    )
    other = onnx.helper.make_graph([make("Identity", ["m"], ["z"], "same")], "else", [], [result])
    nodes = [
        make("ReduceMean", ["w"], ["mean"], "mean"),
        make("Sub", ["w", "mean"], ["standard"], "sub"),
        make("Conv", ["x", "standard"], ["y"], "conv"),
        make("MatMul", ["y", "y"], ["yy"], "product"),
        make("ReduceMax", ["yy"], ["top"], "top", keepdims=0),
        make("Cast", ["top"], ["flag"], "cast", to=onnx.TensorProto.BOOL),
        make("If", ["flag"], ["out"], "if", then_branch=then, else_branch=other),
    ]
    inputs = [
        info("x", onnx.TensorProto.FLOAT, [1, 3, 5, 5]),
        info("m", onnx.TensorProto.FLOAT, [3, 3]),
    ]
    outputs = [info("yy", onnx.TensorProto.FLOAT, None), info("out", onnx.TensorProto.FLOAT, None)]
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, stored)
    opset = [onnx.helper.make_opsetid("", 21)]
    path = tmp_path / "computed.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    found = {kernel.layer: kernel.reason for kernel in kernels(path)}
    assert found == {
        "conv": "its weight is computed in float",
        "inner": "its weight is not quantized",
    }
