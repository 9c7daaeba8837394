"""PyTorch's settings change nothing: the files, figures and records have the same bits."""

from contextlib import ExitStack, contextmanager
from functools import cache

import pytest
import torch

import tersor
from tests import nets

MODEL, X = nets.plain(), nets.images(16)


def results():
    """One result of each kind."""
    model, example = MODEL, X[:2]
    q = tersor.quantize(model, example, weights=4, input_range=(-3.0, 3.0))
    yield tersor.train(q, list(X.split(8)), options=tersor.Training(epochs=1))
    yield tersor.quantize(model, example, data=X, weights=4)
    yield tersor.compress(model, example, macs=0.6, data=X)


def found(folder):
    """The bytes of each file, what its verification says, and the records."""
    return list(_found(folder))


def _found(folder):
    for result in results():
        path = result.export(folder / "a.onnx").path
        checked = result.verify(path, X, latency=False)
        yield path.read_bytes(), checked.as_dict(), repr(result.records)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return found(tmp_path_factory.mktemp("usual"))


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(torch.float32)


@contextmanager
def rough_products():
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


SETTINGS = {
    "float64": lambda: [default_dtype(torch.float64)],
    "bfloat16, without gradients": lambda: [default_dtype(torch.bfloat16), torch.no_grad()],
    "rough products, inference": lambda: [rough_products(), torch.inference_mode()],
    "meta": lambda: [torch.device("meta")],
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_change_nothing(name, usual, tmp_path):
    with ExitStack() as stack:
        for setting in SETTINGS[name]():
            stack.enter_context(setting)
        before = states()
        assert found(tmp_path) == usual
        assert states() == before


def states():
    return (
        torch.get_default_dtype(),
        torch.get_float32_matmul_precision(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_device(),
    )


@cache
def made_for_inference():
    with torch.inference_mode():
        return nets.plain(), nets.images(16)


def test_models_made_in_inference_mode_are_taken(usual, tmp_path):
    model, images = made_for_inference()
    q = tersor.quantize(model, images[:2], weights=4, input_range=(-3.0, 3.0))
    q = tersor.train(q, list(images.split(8)), options=tersor.Training(epochs=1))
    assert q.export(tmp_path / "a.onnx").path.read_bytes() == usual[0][0]
    assert all(x.is_inference() for x in model.parameters())


def test_labels_made_in_inference_mode_are_taken():
    model, images = made_for_inference()
    with torch.inference_mode():
        labels = torch.arange(16) % 5
    q = tersor.quantize(model, images[:2], weights=4, input_range=(-3.0, 3.0))
    loss = torch.nn.functional.cross_entropy
    options = tersor.Training(epochs=1)
    assert len(tersor.train(q, [(images, labels)], loss, options=options).training) > 0


def test_a_model_without_parameters_has_nothing_to_compress_or_quantize():
    with pytest.raises(tersor.TersorError, match="nothing to compress"):
        tersor.compress(torch.nn.Softmax(1), X[:2], macs=0.5, data=X)
    with pytest.raises(tersor.TersorError, match="nothing to quantize"):
        tersor.quantize(torch.nn.Softmax(1), X[:2], data=X)
