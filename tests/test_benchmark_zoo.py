"""The benchmarks' networks, preprocessing and accuracy, without their weights and data."""

import numpy as np
import pytest
import torch

from benchmarks.zoo import MODELS, accuracy
from benchmarks.zoo.data import asset
from benchmarks.zoo.resnet import CifarResNet
from benchmarks.zoo.shufflenet import ShuffleNetV2

models = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


@models
def test_input_range_is_what_all_pixels_give(model):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)[None]
    images = model.normalize(pixels)
    assert images.shape == (1, 3, 16, 16)
    lo, hi = model.input_range
    assert images.min() == pytest.approx(lo)
    assert images.max() == pytest.approx(hi)


@models
def test_example_lies_in_the_input_range(model):
    example = model.example(batch=3)
    assert example.shape == (3, 3, model.size, model.size)
    lo, hi = model.input_range
    assert lo - 1e-6 <= example.min() < example.max() <= hi + 1e-6


def test_normalize_keeps_channels_and_rows_in_place():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    normalize = MODELS["resnet20"].normalize
    expected = (pixels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    np.testing.assert_allclose(
        normalize(pixels), expected.transpose(0, 3, 1, 2), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("net", "millions"),
    [
        (CifarResNet(3), 0.27),
        (CifarResNet(5), 0.46),
        (CifarResNet(9), 0.85),
        (ShuffleNetV2((24, 48, 96, 192, 1024)), 0.35),
    ],
    ids=["resnet20", "resnet32", "resnet56", "shufflenetv2_x0_5"],
)
def test_parameter_count_is_the_published_one(net, millions):
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
    assert net.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("convert", [lambda x: x, lambda x: x.numpy()], ids=["tensor", "numpy"])
def test_accuracy_counts_hits_over_uneven_batches(convert):
    images = torch.eye(5)[torch.tensor([0, 1, 2, 3, 4, 0, 1])]
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    assert accuracy(convert, images, labels, batch_size=3) == pytest.approx(100 * 4 / 7)


def test_missing_assets_are_explained(monkeypatch, tmp_path):
    monkeypatch.delenv("TERSOR_ASSETS", raising=False)
    with pytest.raises(FileNotFoundError, match="TERSOR_ASSETS is not set"):
        asset("data/cifar10_test.npz")
    monkeypatch.setenv("TERSOR_ASSETS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"wanted one file .*resnet20-\*\.th, found 0"):
        asset("weights/resnet20-*.th")
