"""Weights of few bits: both containers hold the same numbers, and files say how they are held."""

import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import tersor
from tersor.api.quantize import quantize
from tersor.cli import app
from tersor.core.metrics import sqnr
from tersor.errors import InvalidInputError
from tersor.export.onnx.writer import export_onnx
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.quant.placement.place import weight_quantizer
from tests.zoo import ZOO

NAMES = ["vgg", "grouped", "shufflenet", "conv1d", "encoder_layer", "tied_embedding"]


class Odd(nn.Module):
    """Odd numbers of weights everywhere, one layer without bias, and a product with a matrix."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, bias=False)
        self.second = nn.Conv2d(5, 7, 1)
        self.third = nn.Linear(7, 3)
        self.matrix = nn.Parameter(torch.randn(3, 3))

    def forward(self, x):
        x = self.second(self.first(x).relu()).relu().mean((2, 3))
        return self.third(x) @ self.matrix


def quantized(bits, name=None):
    torch.manual_seed(0)
    if name is None:
        return quantize(Odd().eval(), torch.randn(4, 3, 9, 9), weights=bits)
    case = ZOO[name]
    args = case.args(torch.float32, batch=4, seed=0)
    return quantize(case.make().eval(), args, weights=bits)


def integers(path):
    """Stored integers by name, and their types."""
    stored = onnx.load(str(path)).graph.initializer
    arrays = {t.name: onnx.numpy_helper.to_array(t).astype(float) for t in stored}
    return arrays, {t.name: onnx.TensorProto.DataType.Name(t.data_type) for t in stored}


def outputs_of(model, path, optimize):
    """Simulation and file on the model's own example."""
    args = model.network.args
    runtime = Runtime(path, optimize=optimize)
    with torch.no_grad():
        wanted = model(*args)
    got = runtime(tuple(args) if len(args) > 1 else args[0])
    return wanted, torch.from_numpy(got[runtime.outputs[0]])


CASES = [(None, 2), (None, 3), *((name, 4) for name in (None, *NAMES))]


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_both_containers_hold_the_same_and_run_as_simulated(name, bits, tmp_path):
    model = quantized(bits, name)
    wide = model.export(tmp_path / "wide.onnx").path
    narrow = model.export(tmp_path / "narrow.onnx", storage="int4").path
    (first, kinds), (second, narrow_kinds) = integers(wide), integers(narrow)
    assert first.keys() == second.keys()
    assert all((first[key] == second[key]).all() for key in first)
    assert "INT4" not in kinds.values()
    assert "INT4" in narrow_kinds.values()
    wanted, exact = outputs_of(model, wide, optimize=False)
    assert sqnr(wanted, exact) > 35
    assert torch.equal(exact, outputs_of(model, narrow, optimize=False)[1])
    for path in (wide, narrow):  # integer kernels; float kernels
        assert sqnr(wanted, outputs_of(model, path, optimize=True)[1]) > 30


def test_two_bits_are_multiples_of_four(tmp_path):
    """So that the biases beside them are finer."""
    model = quantized(2)
    arrays, _ = integers(model.export(tmp_path / "a.onnx", storage="int4").path)
    assert set(arrays["first.weight"].ravel()) == {-8, -4, 0, 4}
    step = arrays["first.weight_scale"]
    weight = arrays["first.weight"] * step.reshape(-1, 1, 1, 1)
    layer = next(iter(layers(model.network)))
    rounded = weight_quantizer(layer)(layer.weight.detach())
    torch.testing.assert_close(torch.from_numpy(weight).float(), rounded)
    read = next(arrays[name] for name in arrays if name.endswith("x_scale"))
    np.testing.assert_allclose(arrays["first.bias_scale"], step * read, rtol=1e-6)


def test_the_result_says_what_is_stored_and_how(tmp_path):
    model = quantize(Odd().eval(), torch.randn(4, 3, 9, 9), weights=3, exclude=["second"])
    (narrow, full) = model.export(tmp_path / "a.onnx", storage="int4").weights
    assert (narrow.container, narrow.bits, narrow.layers, narrow.share) == ("INT4", 3, 3, 0.75)
    assert narrow.bytes == 68 + 11 + 5  # ⌈135 / 2⌉ + ⌈21 / 2⌉ + ⌈9 / 2⌉
    assert (full.container, full.bits, full.layers, full.bytes) == ("FLOAT", 32, 1, 140)
    wide = model.export(tmp_path / "b.onnx")
    assert wide.weights[0].container == "INT8"
    assert wide.weights[0].bytes == 135 + 21 + 9
    assert wide.notes == []
    (note,) = model.export(tmp_path / "a.onnx", storage="int4").notes
    assert note.startswith("3 layers have INT4 weights")
    assert json.loads(json.dumps(wide.as_dict()))["weights"][0]["bits"] == 3


def test_narrow_storage_without_narrow_weights_is_refused(tmp_path):
    for network in (quantized(8).network, quantized(8).original):
        with pytest.raises(InvalidInputError, match="no weights have 4 bits or fewer"):
            export_onnx(network, tmp_path / "a.onnx", storage="int4")
    assert not (tmp_path / "a.onnx").exists()


def test_float_networks_have_float_weights(tmp_path):
    result = export_onnx(quantized(8).original, tmp_path / "a.onnx")
    assert [(stored.container, stored.layers) for stored in result.weights] == [("FLOAT", 4)]


def test_unknown_storage(tmp_path):
    with pytest.raises(InvalidInputError, match="'int8' or 'int4'"):
        quantized(4).export(tmp_path / "a.onnx", storage="int2")


def test_int4_files_can_be_read_again(tmp_path):
    model = quantized(4)
    path = model.export(tmp_path / "a.onnx", storage="int4").path
    again, _ = tersor.load(str(path), dequantize=True)
    example = model.network.args
    floats = export_onnx(capture(again, example), tmp_path / "float.onnx").path
    (wanted,), (got,) = (Runtime(file)(example[0]).values() for file in (path, floats))
    assert sqnr(torch.from_numpy(wanted), torch.from_numpy(got)) > 20


def test_command_line(tmp_path):
    free = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(Odd().eval(), (torch.randn(2, 3, 9, 9),), dynamic_shapes=free)
    torch.export.save(program, tmp_path / "m.pt2")
    arguments = [str(tmp_path / "m.pt2"), "-o", str(tmp_path / "a.onnx"), "--weights", "4"]
    done = CliRunner().invoke(app, ["quantize", *arguments, "--storage", "int4", "--no-verify"])
    assert done.exit_code == 0, done.output
    assert "4 layers (100%) with 4-bit weights in INT4" in done.output
    assert "onnxruntime computes them in float on CPUs" in done.output
    refused = CliRunner().invoke(app, ["quantize", *arguments, "--storage", "int5"])
    assert refused.exit_code == 2
