"""The arithmetic of XNNPACK's kernels; ExecuTorch's own runtime is the oracle."""

import numpy as np
import pytest
import torch
from torch import nn

import tersor
from tersor.errors import InvalidInputError
from tersor.export.executorch import loaded
from tersor.export.executorch.integer_program import IntegerProgram
from tersor.export.executorch.loaded import ExecuTorchRuntime
from tests.export.executorch.models import SCHEME, Forms, forms, samples

pytestmark = pytest.mark.skipif(not loaded.is_installed(), reason="needs ExecuTorch")


class Arithmetic(nn.Module):
    """What has a kernel on integers: layers of each kind, a sum, a product, means."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.depthwise = nn.Conv2d(8, 8, 5, padding=2, groups=8)
        self.pointwise = nn.Conv2d(8, 8, 1, bias=False)
        self.single = nn.Conv2d(8, 1, 1)
        self.head = nn.Linear(8, 6)

    def forward(self, image):
        x = nn.functional.relu6(self.stem(image) * 3)
        y = self.depthwise(x)
        x = (x + self.pointwise(y)).relu()
        pooled = nn.functional.adaptive_avg_pool2d(x * self.single(x), 1).flatten(1)
        return self.head((x * y).mean((2, 3))), self.head(pooled)


def outputs(q, folder, x):
    """Those of the runtime, and those of the simulation, sample by sample."""
    runtime = ExecuTorchRuntime(q.export(folder / "q.pte").path)
    program = IntegerProgram(q.network)
    pairs = []
    for row in x.split(1):
        found = runtime(row)
        pairs += zip((found[name] for name in runtime.outputs), program.outputs([row]), strict=True)
    return pairs, program


@pytest.mark.parametrize("data", [True, False])
def test_every_bit_is_that_of_the_runtime(tmp_path, data):
    torch.manual_seed(0)
    x = torch.randn(24, 3, 16, 16)
    q = tersor.quantize(Arithmetic().eval(), x[:1], data=x if data else None, scheme=SCHEME)
    pairs, program = outputs(q, tmp_path, x)
    for wanted, found in pairs:
        np.testing.assert_array_equal(found.numpy(), wanted)
    kinds = sorted(program.computed.values())
    assert kinds == ["adaptive_avg_pool2d", "add", *["conv2d"] * 4, "linear", "mean", "mul", "mul"]
    assert not program.unknown


def test_forms_that_are_rewritten_are_equal_too(tmp_path):
    pairs, program = outputs(forms(), tmp_path, samples(8))
    for wanted, found in pairs:
        np.testing.assert_array_equal(found.numpy(), wanted)
    assert {"stem", "body", "wide", "head"} <= program.computed.keys()


class Clips(nn.Module):
    """A clip behind a convolution, one behind a sum, and one behind a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.wide, self.head = nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, image):
        x = nn.functional.hardtanh(self.stem(image), -0.3, 0.4)
        x = (self.body(x) + x).clamp(-0.5, 0.6).mean((2, 3))
        return self.head(self.wide(x).clamp(min=-0.2))


@pytest.mark.parametrize("exclude", [(), ("hardtanh",)])
def test_a_clip_is_part_of_the_kernel_before_it_whatever_its_bounds(tmp_path, exclude):
    torch.manual_seed(0)
    x = torch.randn(24, 3, 8, 8)
    q = tersor.quantize(Clips().eval(), data=x, scheme=SCHEME, exclude=exclude)
    pairs, program = outputs(q, tmp_path, x)
    for wanted, found in pairs:
        np.testing.assert_array_equal(found.numpy(), wanted)
    assert sorted(program.computed.values()) == [
        "add",
        "conv2d",
        "conv2d",
        "linear",
        "linear",
        "mean",
    ]
    if not exclude:  # nothing is rounded in between: not in the simulation either
        with torch.no_grad():
            simulated = torch.cat([q.network(row) for row in x.split(1)])
        runtime = np.concatenate([wanted for wanted, _ in pairs])
        np.testing.assert_allclose(simulated.numpy(), runtime, rtol=1e-5, atol=1e-6)


def test_rows_are_not_known():
    q = tersor.quantize(nn.Linear(8, 4).eval(), torch.randn(2, 8), scheme="executorch-dynamic")
    program = IntegerProgram(q.network)
    assert list(program.unknown.values()) == ["linear"]
    assert program.others == 0


@pytest.mark.parametrize("bits", [8, 4])
def test_a_layer_returns_the_sums_of_the_integers_of_its_rows(tmp_path, bits):
    torch.manual_seed(0)
    layer = nn.Linear(96, 24).eval()
    rows = torch.randn(64, 96) * torch.rand(64, 1) * 3
    q = tersor.quantize(layer, rows, scheme="executorch-dynamic", weights=bits)
    runtime = ExecuTorchRuntime(q.export(tmp_path / "rows.pte").path)
    found = np.concatenate([runtime(row)[runtime.outputs[0]] for row in rows.split(1)])
    tensors = q.network.module.state_dict()
    (step,) = (x for name, x in tensors.items() if name.endswith("scale") and x.ndim)
    weight, bias = (tensors[name].double() for name in ("weight", "bias"))
    whole = (weight / step.double()[:, None]).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    low, high = rows.amin(1, True).clamp(max=0), rows.amax(1, True).clamp(min=0)
    unit = (high - low) / 255
    x = (rows / unit).round().double()
    wanted = (x @ whole.T) * unit.double() * step.double() + bias
    np.testing.assert_allclose(found, wanted.numpy(), rtol=2e-6, atol=2e-6)


def test_verify_says_that_it_is_rounding(tmp_path):
    q, x = forms(), samples(6)
    path = q.export(tmp_path / "forms.pte").path
    found = q.verify(path, x, latency=False, exact=True)
    assert found.arithmetic is not None
    assert found.arithmetic.is_equal
    assert found.arithmetic.samples == 6
    assert "runtime against exact simulation  equal" in " ".join(str(found).split("\n"))
    assert "PyTorch computed" in str(found)


def test_a_program_alone_does_not_tell_its_calls(tmp_path):
    path = forms().export(tmp_path / "forms.pte").path
    with pytest.raises(InvalidInputError, match="call verify of the quantized model"):
        tersor.verify(Forms().eval(), path, samples(2), latency=False, exact=True)
