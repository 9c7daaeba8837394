"""Two files without samples meet pictures in every usual range, and the worst is shown."""

import numpy as np
import pytest
import torch
from torch import nn

import tersor
from tersor.export.onnx.writer import export_onnx
from tersor.export.proof.plausible_arrays import worst_arrays
from tersor.export.sessions.runtime import Runtime


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()


@pytest.fixture(scope="module")
def files(network, tmp_path_factory):
    """A file for pixels in 0…1, and its float file."""
    folder = tmp_path_factory.mktemp("files")
    q = tersor.quantize(network, torch.rand(1, 3, 24, 24), input_range=(0, 1))
    floating = export_onnx(q.original, folder / "float.onnx").path
    return q.export(folder / "int8.onnx").path, floating


def test_the_worst_of_the_usual_ranges_is_taken(files):
    """Pixels in 0…255 are far outside the range that the file was made for."""
    arrays, words = worst_arrays(Runtime(files[0]), files[1])
    (pictures,) = arrays.values()
    assert words.endswith("as pixels in 0…255")
    assert pictures.max() > 100
    assert pictures.min() >= 0
    assert np.abs(np.diff(pictures, axis=3)).mean() < 0.5 * pictures.std()  # smooth, unlike noise


def test_it_is_what_verify_looks_at(files, network):
    for reference in (files[1], network):
        proof = tersor.verify(reference, files[0], latency=False)
        assert proof.inputs.endswith("as pixels in 0…255")
        assert not proof.on_samples
        (output,) = proof.quantized.values()
        assert output.sqnr < 20


def test_other_inputs_are_noise(tmp_path):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    q = tersor.quantize(model, torch.randn(2, 4))
    path = q.export(tmp_path / "a.onnx").path
    floating = export_onnx(q.original, tmp_path / "float.onnx").path
    arrays, words = worst_arrays(Runtime(path), floating)
    assert words == "noise"
    assert next(iter(arrays.values())).shape == (8, 4)
