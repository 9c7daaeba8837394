"""The benchmarks' networks, preprocessing and accuracy, without their weights and data."""

import numpy as np
import pytest
import torch

from benchmarks.training.augment import augment, batches
from benchmarks.training.silunet import save
from benchmarks.zoo import MODELS, accuracy
from benchmarks.zoo.data import asset
from benchmarks.zoo.detection import Photograph, average_precision, matched, precision_of
from benchmarks.zoo.resnet import CifarResNet
from benchmarks.zoo.shufflenet import ShuffleNetV2
from benchmarks.zoo.silunet import SiluNet

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


def test_silunet_is_small_and_classifies():
    net = SiluNet().eval()
    assert sum(p.numel() for p in net.parameters()) < 500_000
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_missing_weights_of_silunet_name_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("TERSOR_SILUNET", str(tmp_path / "silunet.safetensors"))
    with pytest.raises(FileNotFoundError, match=r"python -m benchmarks\.training\.silunet"):
        MODELS["silunet"].load()


def test_saved_weights_of_silunet_are_loaded(monkeypatch, tmp_path):
    path = tmp_path / "new" / "silunet.safetensors"
    monkeypatch.setenv("TERSOR_SILUNET", str(path))
    net = SiluNet().to(memory_format=torch.channels_last).eval()
    save(net, path)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(MODELS["silunet"].load()(x), net(x))
    assert list(path.parent.iterdir()) == [path]


def test_batches_hold_each_image_once():
    images = np.zeros((10, 8, 8, 3), dtype=np.uint8)
    found = [labels for _, labels in batches(images, np.arange(10), size=5, seed=0)]
    assert [len(labels) for labels in found] == [5, 5]
    assert sorted(np.concatenate(found)) == list(range(10))


def test_without_shift_and_hole_an_image_is_at_most_mirrored():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
    given = augment(images, rng, shift=0, hole=0)
    kept = (given == images).all((1, 2, 3))
    mirrored = (given == images[:, :, ::-1]).all((1, 2, 3))
    assert (kept ^ mirrored).all()
    assert 0 < kept.sum() < 40


def test_augmented_images_are_shifted_crops_with_a_grey_hole():
    rng = np.random.default_rng(0)
    images = np.broadcast_to(np.arange(200, 216, dtype=np.uint8)[:, None, None], (9, 16, 16, 3))
    given = augment(images, rng, shift=2, hole=4)
    for image in given:
        grey = (image == 127).all(-1)
        assert 4 <= grey.sum() <= 16
        columns = [set(row[~grey[i]].flatten().tolist()) for i, row in enumerate(image)]
        assert all(len(values) == 1 for values in columns)


def photographs_with_boxes(seed, count=6):
    """Photographs with objects of three classes, and detections near them and elsewhere."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        corner = rng.uniform(0, 60, (rng.integers(0, 5), 2))
        truth = np.hstack([corner, corner + rng.uniform(20, 40, corner.shape)])
        objects = np.hstack([truth, rng.integers(0, 3, (len(truth), 1))])
        near = objects[rng.integers(0, len(objects), 6)] if len(objects) else np.zeros((0, 5))
        boxes = near[:, :4] + rng.normal(0, 6, (len(near), 4))
        scores = rng.choice([0.1, 0.2, 0.5, 0.7, 0.9], (len(near), 1))
        found = np.hstack([boxes, scores, near[:, 4:]])
        pairs.append((found, Photograph(np.zeros(0), (100, 100), objects)))
    return pairs


def overlap(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:4], b[2:4])
    shared = np.prod(np.maximum(high - low, 0))
    return shared / (np.prod(a[2:4] - a[:2]) + np.prod(b[2:4] - b[:2]) - shared)


def precision_by_definition(pairs):
    """Boxes of all images together, the best first; each may take one object that is left."""
    found = []
    for c in {c for _, photo in pairs for c in photo.boxes[:, 4]}:
        boxes = [(box, k) for k, (all_, _) in enumerate(pairs) for box in all_ if box[5] == c]
        boxes.sort(key=lambda pair: -pair[0][4])
        left = {k: [x for x in photo.boxes if x[4] == c] for k, (_, photo) in enumerate(pairs)}
        total, hits, curve = sum(map(len, left.values())), 0, []
        for number, (box, k) in enumerate(boxes, 1):
            best = max(left[k], key=lambda x, box=box: overlap(box, x), default=None)
            if best is not None and overlap(box, best) >= 0.5:
                left[k] = [x for x in left[k] if x is not best]
                hits += 1
            curve.append((hits / total, hits / number))
        reached = [[p for r, p in curve if r >= at] for at in np.linspace(0, 1, 101)]
        found.append(np.mean([max(p, default=0.0) for p in reached]))
    return 100 * np.mean(found)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_that_of_its_definition_for_drawings_too(seed):
    pairs = photographs_with_boxes(seed)
    assert average_precision(*map(list, zip(*pairs, strict=True))) == pytest.approx(
        precision_by_definition(pairs)
    )
    images = [matched(*pair) for pair in pairs]
    drawn = np.random.default_rng(seed).choice(len(pairs), len(pairs))
    wanted = precision_by_definition([pairs[k] for k in drawn])
    assert precision_of([images[k] for k in drawn]) == pytest.approx(wanted)
