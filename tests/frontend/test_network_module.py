"""What `quantize` and `compress` return is a module like any other."""

import copy
import pickle

import pytest
import torch
from torch import nn

import tersor

X = torch.randn(8, 3, 8, 8, generator=torch.manual_seed(0))


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)
    ).eval()


@pytest.fixture(scope="module")
def quantized():
    return tersor.quantize(net(), data=X)


def test_it_has_the_parameters_of_the_network_under_their_own_names(quantized):
    assert isinstance(quantized, nn.Module)
    assert not quantized.training
    assert quantized.state_dict().keys() == quantized.network.module.state_dict().keys()
    assert dict(quantized.named_parameters()).keys() == {"0.weight", "0.bias", "4.weight", "4.bias"}
    whole = nn.Sequential(quantized, nn.Softmax(1))
    assert torch.equal(whole(X), quantized(X).softmax(1))
    assert {name.removeprefix("0.") for name in whole.state_dict()} == quantized.state_dict().keys()


def test_loading_changes_the_network_itself(quantized):
    changed = copy.deepcopy(quantized)
    changed.load_state_dict({k: torch.zeros_like(v) for k, v in quantized.state_dict().items()})
    assert not bool(changed.network.module.get_parameter("4.bias").any())
    assert bool(quantized.network.module.get_parameter("4.bias").any())


def test_a_copy_computes_the_same_and_can_be_exported(quantized, tmp_path):
    again = copy.deepcopy(quantized)
    assert torch.equal(again(X), quantized(X))
    again.export(tmp_path / "copy.onnx")
    quantized.export(tmp_path / "own.onnx")
    assert (tmp_path / "copy.onnx").read_bytes() == (tmp_path / "own.onnx").read_bytes()


def test_a_pickle_computes_the_same_and_can_be_exported(quantized, tmp_path):
    again = pickle.loads(pickle.dumps(quantized))  # noqa: S301
    assert torch.equal(again(X), quantized(X))
    assert again.scheme == quantized.scheme
    assert again.records == quantized.records
    again.export(tmp_path / "again.onnx")
    quantized.export(tmp_path / "own.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "own.onnx").read_bytes()


def test_a_shallow_copy_shares_the_network(quantized):
    again = copy.copy(quantized)
    assert again.network is quantized.network
    assert torch.equal(again(X), quantized(X))


def test_to_converts_all_that_a_result_holds(quantized):
    double = copy.deepcopy(quantized).double()
    assert double(X.double()).dtype == torch.float64
    assert double.original(X.double()).dtype == torch.float64
    assert double.prepared(X.double()).dtype == torch.float64
    assert double.network.args[0].dtype == torch.float64
    assert quantized.original(X).dtype == torch.float32


def test_train_and_eval_reach_the_network(quantized):
    found = copy.deepcopy(quantized)
    assert found.train() is found
    assert found.network.module.training
    found.eval()
    assert not found.network.module.training


def test_backward_points_to_what_can_be_trained(quantized):
    with pytest.raises(tersor.errors.UnsupportedError, match=r"tersor\.trainable"):
        quantized(X).sum().backward()


def test_a_compressed_network_can_be_quantized_and_a_quantized_one_cannot(quantized):
    small = tersor.compress(net(), macs=0.8, example=X[:2])
    assert isinstance(small, nn.Module)
    layers = tersor.quantize(small, data=X).network.module.state_dict()
    assert {name for name in small.state_dict() if name.endswith("weight")} <= layers.keys()
    with pytest.raises(tersor.errors.InvalidModelError, match="already has quantizers"):
        tersor.quantize(quantized, data=X)
