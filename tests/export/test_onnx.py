"""The exported file, read with onnx and run with onnxruntime directly."""

import copy
import errno
import json
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.utils import _pytree as pytree

import tersor
from tersor.api.quantize import quantize
from tersor.core.grid import Grid
from tersor.core.metrics import sqnr
from tersor.errors import ExportError, InvalidInputError, UnsupportedError
from tersor.export.onnx import anew, writer
from tersor.export.onnx.writer import export_onnx
from tersor.files import temporary_folder
from tersor.frontend.capture import capture
from tersor.quant.placement.quantizer import FakeQuantize
from tersor.quant.scheme import Scheme
from tests.export.models import quantize_by_hand, small
from tests.frontend.onnx.files import model, random, write
from tests.zoo import ZOO

# The pairs of u8×s8 products cannot overflow 16 bits: exact on every CPU, with or without VNNI.
SAFE = Grid(7, signed=True, symmetric=True)


def run(path, *inputs, optimize=False):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    outputs = session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})
    return [torch.from_numpy(np.asarray(output)) for output in outputs]


def initializers(path):
    model = onnx.load(str(path))
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def ops(path):
    return [node.op_type for node in onnx.load(str(path)).graph.node]


@pytest.fixture(scope="module")
def network():
    return quantize_by_hand(small(), weight=SAFE)


@pytest.fixture(scope="module")
def result(network, tmp_path_factory):
    return export_onnx(
        network,
        tmp_path_factory.mktemp("small") / "small.onnx",
        scheme=Scheme("by-hand", "made in a test"),
    )


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("optimize", [False, True])
def test_file_computes_the_simulation(network, result, batch, optimize):
    image = torch.randn(batch, 3, 8, 8)
    wanted = network(image).detach()
    (given,) = run(result.path, image, optimize=optimize)
    step = initializers(result.path)["head.output_scale"]
    assert given.shape == (batch, 5)
    assert (given - wanted).abs().max() <= step * 1.001
    assert sqnr(wanted, given) > 40


def test_result_describes_the_file(result):
    assert result.inputs == ("image",)
    assert result.outputs == ("output",)
    assert result.opset == 21
    assert result.bytes == result.path.stat().st_size


def test_model_passes_the_checker_and_names_its_maker(result):
    model = onnx.load(str(result.path))
    onnx.checker.check_model(model, full_check=True)
    assert model.producer_name == "tersor"
    assert model.producer_version
    assert model.opset_import[0].version == 21
    notes = {p.key: p.value for p in model.metadata_props}
    assert notes["tersor.scheme"] == "by-hand"
    assert notes["tersor.version"] == model.producer_version
    widths = {"weights": {"7": 3}, "activations": {"8": 6}}
    assert json.loads(notes["tersor.options"]) == {**widths, "storage": "int8"}
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_nothing_of_this_machine_is_in_the_file(result):
    content = result.path.read_bytes()
    for trace in (b"pkg.", b".py", os.path.expanduser("~").encode(), os.getcwd().encode()):  # noqa: PTH109, PTH111
        assert trace not in content


def test_weights_and_biases_are_integers_with_readable_names(network, result):
    stored = initializers(result.path)
    for layer, channels in (("conv1", 8), ("conv2", 8), ("head", 5)):
        weight = network.module.get_parameter(f"{layer}.weight").detach().numpy()
        scale = stored[f"{layer}.weight_scale"]
        assert scale.shape == (channels,)
        assert scale.dtype == np.float32
        rounded = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
        assert stored[f"{layer}.weight"].dtype == np.int8
        np.testing.assert_array_equal(stored[f"{layer}.weight"], rounded.clip(-64, 63))
        np.testing.assert_array_equal(stored[f"{layer}.weight_zero_point"], np.zeros(channels))
        assert stored[f"{layer}.bias"].dtype == np.int32
        assert not stored[f"{layer}.weight_zero_point"].any()
    np.testing.assert_allclose(
        stored["conv1.bias_scale"], stored["image_scale"] * stored["conv1.weight_scale"], rtol=1e-6
    )
    assert stored["image_scale"].shape == stored["image_zero_point"].shape == ()
    assert stored["image_zero_point"].dtype == np.uint8


def test_layers_keep_their_names_and_no_float_op_is_in_between(result):
    nodes = onnx.load(str(result.path)).graph.node
    assert {"conv1", "conv2", "head"} <= {node.name for node in nodes}
    assert len({node.name for node in nodes}) == len(nodes)
    assert not {"Relu", "Cast", "Identity", "Constant", "Mul", "ReduceMean"} & set(ops(result.path))


def test_no_two_scales_share_a_zero_point(result):
    """onnxruntime could not load such a file with session.x64quantprecision=1."""
    quantizers = ("QuantizeLinear", "DequantizeLinear")
    pairs = {
        (node.input[1], node.input[2])
        for node in onnx.load(str(result.path)).graph.node
        if node.op_type in quantizers and len(node.input) > 2
    }
    assert len({zero for _, zero in pairs}) == len(pairs)


def test_full_range_weights_load_in_the_precise_session(tmp_path):
    path = export_onnx(quantize_by_hand(small()), tmp_path / "a.onnx").path
    options = ort.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv3",
        "decoder",
        "shared_conv",
        "functional",
        "two_inputs",
        "standardized",
        "conv1d",
        "encoder_layer",
    ],
)
def test_zoo(name, tmp_path, monkeypatch):
    """Every network is translated call by call."""
    monkeypatch.delattr(anew, "_exported")
    case = ZOO[name]
    network = quantize_by_hand(capture(case.make(), case.args(), case.kwargs()), weight=SAFE)
    result = export_onnx(network, tmp_path / "zoo.onnx")
    args, kwargs = case.args(batch=3, seed=4), case.kwargs(batch=3, seed=4)
    with torch.no_grad():
        wanted = pytree.tree_leaves(network(*args, **kwargs))
    inputs = pytree.tree_leaves((args, kwargs))
    for exact, fast, reference in zip(
        run(result.path, *inputs), run(result.path, *inputs, optimize=True), wanted, strict=True
    ):
        assert sqnr(reference, exact) > 30
        assert sqnr(reference, fast) > 25


@pytest.mark.parametrize("name", ["mobilenetv2", "odd_padding", "branches", "causal_attention"])
def test_float_network(name, tmp_path):
    case = ZOO[name]
    network = capture(case.make(), case.args(), case.kwargs())
    result = export_onnx(network, tmp_path / "float.onnx")
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(ops(result.path))
    args = case.args(batch=3, seed=4)
    torch.testing.assert_close(
        run(result.path, *args, optimize=True)[0], network(*args).detach(), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize(
    ("activation", "clipped"),
    [
        (Grid(4), True),
        (Grid(7, signed=True), True),
        (Grid(12), True),
        (Grid(8), False),
        (Grid(16), False),
        (Grid(16, signed=True), False),
    ],
    ids=str,
)
def test_activation_grids(activation, clipped, tmp_path):
    """Values far outside the range are clipped to the grid, not to the integer type."""
    network = quantize_by_hand(small(), weight=SAFE, activation=activation)
    path = export_onnx(network, tmp_path / "a.onnx").path
    assert ("Clip" in ops(path)) == clipped
    image = 10 * torch.randn(4, 3, 8, 8)
    wanted = network(image).detach()
    for optimize in (False, True):
        (given,) = run(path, image, optimize=optimize)
        step = float(initializers(path)["head.output_scale"])
        assert (given - wanted).abs().max() <= step * 1.001


def test_layers_with_narrow_activations_still_run_on_integers(tmp_path):
    path = export_onnx(quantize_by_hand(small(), activation=Grid(4)), tmp_path / "a.onnx").path
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    optimized = ops(tmp_path / "optimized.onnx")
    assert optimized.count("QLinearConv") == 2
    assert optimized.count("QGemm") == 1


@pytest.mark.parametrize("storage", ["int8", "int4"])
def test_four_bit_weights(storage, tmp_path):
    grid = Grid(4, signed=True, symmetric=True)
    network = quantize_by_hand(small(), weight=grid)
    path = export_onnx(network, tmp_path / "a.onnx", storage=storage).path
    kinds = {t.name: t.data_type for t in onnx.load(str(path)).graph.initializer}
    expected = onnx.TensorProto.INT4 if storage == "int4" else onnx.TensorProto.INT8
    assert kinds["conv1.weight"] == kinds["conv1.weight_zero_point"] == expected
    assert kinds["conv1.bias"] == onnx.TensorProto.INT32
    values = initializers(path)["conv1.weight"].astype(int)
    assert values.min() >= -8
    assert values.max() == 7
    image = torch.randn(2, 3, 8, 8)
    assert sqnr(network(image).detach(), run(path, image)[0]) > 40


def test_sixteen_bit_weights(tmp_path):
    network = quantize_by_hand(small(), weight=Grid(16, signed=True, symmetric=True))
    path = export_onnx(network, tmp_path / "a.onnx").path
    assert initializers(path)["head.weight"].dtype == np.int16
    image = torch.randn(2, 3, 8, 8)
    assert sqnr(network(image).detach(), run(path, image)[0]) > 40


def test_per_tensor_weights_have_one_scale(tmp_path):
    network = quantize_by_hand(small(), weight=SAFE, per_channel=False)
    path = export_onnx(network, tmp_path / "a.onnx").path
    stored = initializers(path)
    for kind in ("weight_scale", "weight_zero_point", "bias_scale"):
        assert stored[f"conv1.{kind}"].shape == ()
    image = torch.randn(2, 3, 8, 8)
    assert sqnr(network(image).detach(), run(path, image, optimize=True)[0]) > 40


def test_quantizers_in_a_row_never_merge(tmp_path):
    """onnxruntime merges two quantizers that follow each other, which is not exact."""

    class Clipped(nn.Module):
        def forward(self, x):
            return nn.functional.relu6(x.sin()).cos()

    network = quantize_by_hand(capture(Clipped(), torch.randn(2, 500)))
    relu = next(node for node in network.nodes() if "relu6" in str(node.target))
    (wide, narrow) = FakeQuantize(Grid(8)), network.module.get_submodule("quantizers.relu6")
    wide.set_range(torch.tensor(-1.0), torch.tensor(2.3))
    narrow.set_range(torch.tensor(0.0), torch.tensor(1.7))
    network.module.add_submodule("quantizers.wide", wide)
    with network.graph.inserting_before(relu):
        edge = network.graph.call_module("quantizers.wide", (relu.args[0],))
    relu.replace_input_with(relu.args[0], edge)
    network.finish()
    path = export_onnx(network, tmp_path / "a.onnx").path
    x = torch.randn(4, 500)
    torch.testing.assert_close(run(path, x, optimize=True)[0], network(x), rtol=1e-6, atol=1e-6)


def test_equal_scales_keep_their_own_zero_points(tmp_path):
    """The exporter merges equal scales: [-3, 3] and [0, 6] have one scale and two zero points."""

    class Exponential(nn.Module):
        def forward(self, x):
            return x.exp().cos()

    network = quantize_by_hand(capture(Exponential(), torch.randn(2, 500)))
    network.module.get_submodule("quantizers.x").set_range(torch.tensor(-3.0), torch.tensor(3.0))
    network.module.get_submodule("quantizers.exp").set_range(torch.tensor(0.0), torch.tensor(6.0))
    path = export_onnx(network, tmp_path / "a.onnx").path
    x = torch.randn(4, 500)
    torch.testing.assert_close(run(path, x)[0], network(x), rtol=1e-6, atol=1e-6)


class Padded(nn.Module):
    """Asymmetric padding in front of a convolution, before and after the quantizer."""

    def __init__(self, mode="constant", value=0.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.mode, self.value = mode, value

    def forward(self, x):
        value = {"value": self.value} if self.mode == "constant" else {}
        return self.conv(nn.functional.pad(x + 0.0, (0, 1, 2, 1), self.mode, **value))


@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_padding(mode, value, tmp_path):
    network = quantize_by_hand(capture(Padded(mode, value), torch.randn(2, 3, 9, 9)), weight=SAFE)
    path = export_onnx(network, tmp_path / "a.onnx").path
    merged = mode == "constant" and value == 0.0
    assert ("Pad" in ops(path)) != merged
    if merged:
        (conv,) = [node for node in onnx.load(str(path)).graph.node if node.op_type == "Conv"]
        (pads,) = [a.ints for a in conv.attribute if a.name == "pads"]
        assert list(pads) == [3, 1, 2, 2]
    x = torch.randn(3, 3, 9, 9)
    for optimize in (False, True):
        assert sqnr(network(x).detach(), run(path, x, optimize=optimize)[0]) > 40


def test_padding_with_another_reader_stays(tmp_path):
    class Fork(Padded):
        def forward(self, x):
            y = nn.functional.pad(x, (0, 1, 2, 1))
            return self.conv(y), y.sum((2, 3))

    network = quantize_by_hand(capture(Fork(), torch.randn(2, 3, 9, 9)), weight=SAFE)
    path = export_onnx(network, tmp_path / "a.onnx").path
    assert "Pad" in ops(path)
    x = torch.randn(3, 3, 9, 9)
    assert sqnr(network(x)[0].detach(), run(path, x)[0]) > 40


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_padding_with_zeros_moves_integers(value, tmp_path):
    """Quantized on both sides on one grid: zeros go around the integers. Other values do not."""

    class Shortcut(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.head = nn.Conv2d(4, 5, 1)

        def forward(self, x):
            x = self.conv(x)
            shortcut = nn.functional.pad(x[:, 1:3], (0, 0, 0, 0, 1, 1), value=value)
            return self.head(x + shortcut)

    quantized = quantize(Shortcut(), torch.randn(2, 3, 9, 9))
    path = quantized.export(tmp_path / "a.onnx").path
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    types = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    (pad,) = [node for node in model.graph.node if node.op_type == "Pad"]
    assert (types[pad.output[0]] == onnx.TensorProto.UINT8) == (value == 0.0)
    x = torch.randn(3, 3, 9, 9)
    for optimize in (False, True):
        assert sqnr(quantized(x).detach(), run(path, x, optimize=optimize)[0]) > 40


def test_matrix_weights_are_stored_as_they_are_read(tmp_path):
    class Sequence(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 4, bias=False)

        def forward(self, x):
            return self.fc(x)

    network = quantize_by_hand(capture(Sequence(), torch.randn(2, 5, 6)), weight=SAFE)
    path = export_onnx(network, tmp_path / "a.onnx").path
    assert "Transpose" not in ops(path)
    assert initializers(path)["fc.weight"].shape == (6, 4)
    x = torch.randn(3, 5, 6)
    for optimize in (False, True):
        assert sqnr(network(x).detach(), run(path, x, optimize=optimize)[0]) > 40


def test_a_shared_weight_is_stored_once(tmp_path):
    case = ZOO["shared_conv"]
    network = quantize_by_hand(capture(case.make(), case.args()), weight=SAFE)
    path = export_onnx(network, tmp_path / "a.onnx").path
    weights = [name for name in initializers(path) if name.endswith(".weight")]
    convs = [node for node in onnx.load(str(path)).graph.node if node.op_type == "Conv"]
    assert len([name for name in weights if initializers(path)[name].ndim == 4]) < len(convs)


def test_names_of_inputs_and_outputs(tmp_path):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, first, second, *, mask, power=2):
            y = self.fc(first)
            return {
                "scores": y,
                "more": {"sum": y + second, "pair": (y * mask, y)},
                "nothing": None,
            }

    args = (torch.randn(2, 3), torch.randn(2, 3))
    network = quantize_by_hand(capture(Named(), args, {"mask": torch.ones(2, 3)}))
    result = export_onnx(network, tmp_path / "a.onnx")
    assert result.inputs == ("first", "second", "mask")
    assert result.outputs == ("scores", "more.sum", "more.pair.0", "more.pair.1")
    inputs = [torch.randn(4, 3) for _ in range(3)]
    wanted = [x for x in pytree.tree_leaves(network(*inputs[:2], mask=inputs[2])) if x is not None]
    for given, expected in zip(run(result.path, *inputs), wanted, strict=True):
        assert sqnr(expected.detach(), given) > 40


def test_tuple_outputs_and_an_input_that_is_an_output(tmp_path):
    class Echo(nn.Module):
        def forward(self, x):
            return x, x.relu(), x.argmax(1)

    result = export_onnx(capture(Echo(), torch.randn(2, 3)), tmp_path / "a.onnx")
    assert result.outputs == ("output_0", "output_1", "output_2")
    x = torch.randn(4, 3)
    for given, wanted in zip(run(result.path, x), (x, x.relu(), x.argmax(1)), strict=True):
        assert torch.equal(given, wanted)


def test_output_names_that_values_inside_have_too(tmp_path):
    class Swapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.full((3,), 2.0))

        def forward(self, relu):
            x = relu.relu() * self.scale
            return {"mul": x.neg(), "neg": x, "scale": x.exp(), "exp": x.relu()}

    network = capture(Swapped(), torch.randn(2, 3))
    result = export_onnx(network, tmp_path / "a.onnx")
    assert result.outputs == ("mul", "neg", "scale", "exp")
    x = torch.randn(4, 3)
    for given, wanted in zip(run(result.path, x), network(x).values(), strict=True):
        torch.testing.assert_close(given, wanted.detach())


def test_a_constant_output_is_refused(tmp_path):
    class Constant(nn.Module):
        def forward(self, x):
            return x, 5

    with pytest.raises(UnsupportedError, match="'output_1' is the constant 5"):
        export_onnx(capture(Constant(), torch.randn(2, 3)), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("opset", [22, 23])
def test_later_opsets(network, opset, tmp_path):
    result = export_onnx(network, tmp_path / "a.onnx", opset=opset)
    assert onnx.load(str(result.path)).opset_import[0].version == opset


def test_an_earlier_opset_that_computes_the_same(network, tmp_path):
    result = export_onnx(network, tmp_path / "a.onnx", opset=18)
    assert result.opset == onnx.load(str(result.path)).opset_import[0].version == 18


def test_an_opset_without_the_integers_of_the_file_is_refused(tmp_path):
    network = quantize_by_hand(small(), activation=Grid(16))
    with pytest.raises(ExportError, match=r"opset=20: .* 16 bits, which need opset 21"):
        export_onnx(network, tmp_path / "a.onnx", opset=20)


def test_given_names_of_inputs_and_outputs(network, tmp_path):
    names = {"input_names": ["pixels"], "output_names": ["scores"]}
    result = export_onnx(network, tmp_path / "a.onnx", **names)
    assert (result.inputs, result.outputs) == (("pixels",), ("scores",))
    assert ort.InferenceSession(result.path).get_inputs()[0].name == "pixels"


@pytest.mark.parametrize("names", [[], ["a", "b"], "image"])
def test_names_that_do_not_fit(network, names, tmp_path):
    with pytest.raises(InvalidInputError, match="give 1 different names, in the order of"):
        export_onnx(network, tmp_path / "a.onnx", input_names=names)


def test_export_is_silent_and_keeps_the_network(network, tmp_path, capfd, caplog):
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    code = str(network.graph)
    with caplog.at_level("WARNING"):
        export_onnx(network, tmp_path / "a.onnx")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert str(network.graph) == code
    assert all(torch.equal(v, before[k]) for k, v in network.module.state_dict().items())


def test_weights_beyond_the_limit_go_beside_the_file(network, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "LARGEST_FILE", 100)
    result = export_onnx(network, tmp_path / "big.onnx")
    assert [file.suffix for file in sorted(tmp_path.iterdir())] == [".onnx", ".data"]
    assert result.bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    image = torch.randn(2, 3, 8, 8)
    assert sqnr(network(image).detach(), run(result.path, image)[0]) > 40


def _changed(network):
    other = copy.deepcopy(network)
    for value in other.module.parameters():
        value.data.mul_(0.5)
    return other


def test_killed_between_model_and_weights_the_old_pair_stays_whole(network, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "LARGEST_FILE", 100)
    path, image = tmp_path / "big.onnx", torch.randn(2, 3, 8, 8)
    export_onnx(network, path)
    before = run(path, image)[0]
    replace = Path.replace

    def killed(self, target):
        if Path(target).suffix == ".onnx":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            export_onnx(_changed(network), path)
    assert torch.equal(run(path, image)[0], before)
    export_onnx(_changed(network), path)
    assert not torch.equal(run(path, image)[0], before)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_weights_of_an_old_file_go_with_it(network, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "LARGEST_FILE", 100)
    (tmp_path / "big.onnx.data").write_bytes(b"of somebody else")
    for made in (network, _changed(network), network):
        export_onnx(made, tmp_path / "big.onnx")
        assert len(list(tmp_path.iterdir())) == 3
    (tmp_path / "link.onnx").symlink_to("big.onnx")
    export_onnx(_changed(network), tmp_path / "link.onnx")
    assert len(list(tmp_path.iterdir())) == 4


def test_weights_that_a_killed_run_left_go_unless_another_process_writes(
    network, tmp_path, monkeypatch
):
    monkeypatch.setattr(writer, "LARGEST_FILE", 100)
    path, left = tmp_path / "big.onnx", tmp_path / f"big.onnx.{'0' * 16}.data"
    left.write_bytes(b"of a killed run")
    others = tmp_path / f"large.onnx.{'0' * 16}.data"
    others.write_bytes(b"of another file")
    with temporary_folder(tmp_path):  # somebody writes, and may have moved its weights already
        export_onnx(network, path)
        assert left.exists()
    export_onnx(network, path)
    assert not left.exists()
    monkeypatch.setattr(writer, "LARGEST_FILE", 2**31)
    export_onnx(network, path)
    assert {file.name for file in tmp_path.iterdir()} == {"big.onnx", others.name}


def test_the_float_file_is_not_overwritten(tmp_path):
    path = tmp_path / "float.onnx"
    export_onnx(small(), path)
    content = path.read_bytes()
    q = tersor.quantize(tersor.load(path)[0])
    (tmp_path / "link.onnx").symlink_to(path)
    for name in ("float.onnx", "link.onnx"):
        with pytest.raises(ExportError, match="is the float model itself"):
            q.export(tmp_path / name)
    assert path.read_bytes() == content


@pytest.mark.parametrize("limit", [100, 2**31])
def test_a_full_disk_leaves_nothing(network, tmp_path, monkeypatch, limit):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer, "LARGEST_FILE", limit)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match=r"model\.onnx.*No space left"):
        export_onnx(network, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_an_operator_without_onnx_form(tmp_path):
    class Exotic(nn.Module):
        def forward(self, x):
            return torch.special.airy_ai(x)

    with pytest.raises(ExportError, match="no ONNX form"):
        export_onnx(capture(Exotic(), torch.randn(2, 3)), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_attention_with_a_trainable_mask(tmp_path):
    """torch chooses its layout by whether the mask could be trained, in each step anew."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)
            self.table = nn.Parameter(torch.randn(25, 2))

        def forward(self, x):
            q, k, v = self.qkv(x).reshape(-1, 5, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
            mask = self.table.reshape(5, 5, 2).permute(2, 0, 1)[None]
            y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            return self.proj(y.transpose(1, 2).reshape(-1, 5, 16))

    torch.manual_seed(0)
    model, x = Attention().eval(), torch.randn(3, 5, 16)
    quantized = quantize(model, torch.randn(2, 5, 16))
    path = quantized.export(tmp_path / "attention.onnx").path
    (y,) = run(path, x)
    assert sqnr(quantized(x), y) > 40
    assert all(p.requires_grad for p in quantized.network.module.parameters())


def test_attention_with_a_position_bias_that_is_looked_up(tmp_path):
    """Of a text of any length, so that the bias is no stored tensor."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.bias = nn.Embedding(30, 16), nn.Embedding(9, 2)
            self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)

        def forward(self, tokens):
            x = self.words(tokens)
            places = torch.arange(tokens.shape[1])
            apart = (places[:, None] - places).clamp(-4, 4) + 4
            mask = self.bias(apart).permute(2, 0, 1)[None]
            q, k, v = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4).unbind(0)
            y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            return self.proj(y.transpose(1, 2).reshape(*tokens.shape, -1))

    torch.manual_seed(0)
    quantized = quantize(Encoder().eval(), torch.randint(30, (2, 6)))
    path = quantized.export(tmp_path / "encoder.onnx").path
    x = torch.randint(30, (3, 11))
    (y,) = run(path, x)
    assert sqnr(quantized(x), y) > 40


@pytest.mark.parametrize("name", ["слой/один", "a b-c", "größe", "0"])
def test_names_of_modules_survive(name, tmp_path):
    model = nn.Sequential()
    model.add_module(name, nn.Linear(4, 4))
    network = capture(model.eval(), torch.randn(2, 4))
    export_onnx(network, tmp_path / "a.onnx")
    stored = {x.name for x in onnx.load(tmp_path / "a.onnx").graph.initializer}
    assert stored == {f"{name}.weight", f"{name}.bias"}


def test_an_output_of_an_unknown_rank(tmp_path):
    made = model("g (float[N, 4] x) => (float[N, 3] y) { y = MatMul(x, w) }", w=random(4, 3))
    made.graph.output[0].type.tensor_type.ClearField("shape")
    written = tersor.quantize(tersor.load(write(tmp_path, made))[0]).export(tmp_path / "q.onnx")
    dims = onnx.load(written.path).graph.output[0].type.tensor_type.shape.dim
    assert [dim.WhichOneof("value") for dim in dims] == [None, None]


def test_shapes_that_onnx_infers_wrongly(tmp_path):
    """It says that a one-sided STFT has as many frequencies as its window has samples."""
    text = """g (float[N, 64, 1] x) => (float[N, 7, 3] y) { s = STFT(x, step, window)
        a, b = Split <axis = 3> (s, ones) p = Squeeze(a, axis) y = MatMul(p, w) }"""
    window, stored = np.hanning(16).astype(np.float32), {"step": np.array(8), "w": random(9, 3)}
    made = model(text, window=window, ones=np.array([1, 1]), axis=np.array([3]), **stored)
    x = random(9, 64, 1)
    quantized = tersor.quantize(tersor.load(write(tmp_path, made))[0], data=x)
    checked = quantized.verify(quantized.export(tmp_path / "q.onnx").path, x, latency=False)
    assert checked.sqnr > 40
