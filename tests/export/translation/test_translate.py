"""Graphs translated call by call, without PyTorch's whole exporter; onnxruntime is the oracle."""

import pytest
import torch
from torch import nn

import tersor
from tersor.export.onnx import anew
from tersor.export.onnx.writer import export_onnx
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.capture import capture
from tersor.graph.layers import layers


class Types(nn.Module):
    """Integers and floats are mixed, and sizes are numbers among them."""

    def forward(self, x, n):
        mean = x.sum(0, keepdim=True) / x.shape[0]
        return (1 - n) * x + n / 2, torch.where(n > 1.5, x, n), mean * n.shape[1]


class Pooled(nn.Module):
    """Calls that ONNX has no op for, one of them with several results."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6)

    def forward(self, image):
        x = self.norm(self.conv(image))
        lines = (torch.arange(size).float() for size in image.shape[2:])
        rows, columns = torch.meshgrid(*lines, indexing="ij")
        least, where = nn.functional.adaptive_max_pool2d(x, 1, return_indices=True)
        plain = nn.functional.batch_norm(x, self.norm.running_mean, self.norm.running_var)
        return nn.functional.adaptive_avg_pool2d(x, 1), least, where, rows * columns, plain


@pytest.fixture
def only_by_calls(monkeypatch):
    """There is no other way than that of calls."""
    monkeypatch.delattr(anew, "_exported")


@pytest.mark.usefixtures("only_by_calls")
@pytest.mark.parametrize(
    ("model", "make", "dynamic"),
    [
        (Types(), lambda n: (torch.randn(n, 4), torch.arange(4 * n).reshape(n, 4)), None),
        (Pooled().eval(), lambda n: (torch.randn(n, 3, 6, 6),), None),
        (Pooled().eval(), lambda n: (torch.randn(n, 3, 6, n + 4),), {"image": {3: "width"}}),
    ],
    ids=["types", "decomposed", "open width"],
)
def test_the_file_computes_what_the_graph_does(model, make, dynamic, tmp_path):
    path = export_onnx(capture(model, make(2), dynamic=dynamic), tmp_path / "a.onnx").path
    inputs = make(5)
    for found, wanted in zip(Runtime(path)(inputs).values(), model(*inputs), strict=True):
        torch.testing.assert_close(torch.from_numpy(found), wanted)


@pytest.mark.usefixtures("only_by_calls")
def test_sizes_are_those_after_the_last_change(tmp_path):
    """A pass does not say what follows from a narrower weight."""
    model = nn.Sequential(nn.Conv1d(2, 8, 3), nn.AdaptiveAvgPool1d(2), nn.Flatten())
    network = capture(model, torch.randn(2, 2, 9))
    (layer,) = layers(network)
    network.replace_tensor(layer.weight_node, layer.weight[:5].clone())
    network.replace_tensor(layer.bias_node, layer.bias[:5].clone())
    for node in network.graph.nodes:
        if node.target is torch.ops.aten.reshape.default:
            node.args = (node.args[0], [-1, 10])
    network.finish()
    path = export_onnx(network, tmp_path / "a.onnx").path
    x = torch.randn(3, 2, 9)
    found = torch.from_numpy(Runtime(path)(x)["output"])
    torch.testing.assert_close(found, network(x))


def test_a_network_of_another_type_is_exported_as_a_whole(tmp_path):
    """Its calls have the sizes that they had at capture, but not the types."""
    result = tersor.quantize(nn.Sequential(nn.Linear(3, 2), nn.Tanh()), torch.randn(4, 3))
    original = result.double().original
    path = export_onnx(original, tmp_path / "a.onnx").path
    x = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(torch.from_numpy(Runtime(path)(x)["output"]), original(x))


def test_another_version_of_pytorch_exports_the_graph_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.delattr("tersor.export.onnx.translation.translate.translate")
    network = capture(nn.Linear(3, 2), torch.randn(2, 3))
    path = export_onnx(network, tmp_path / "a.onnx").path
    x = torch.randn(2, 3)
    torch.testing.assert_close(torch.from_numpy(Runtime(path)(x)["output"]), network(x))
