"""What is loaded is what was saved: outputs to the bit, exported files to the byte."""

from dataclasses import fields, replace

import pytest
import torch
from torch.utils import _pytree as pytree

import tersor
from tersor.core.grid import Grid
from tersor.export.onnx.writer import export_onnx
from tersor.graph.network import Network
from tersor.graph.origin import Origin
from tersor.quant.placement.quantizer import FakeQuantize
from tersor.saved.origin_file import SavedOrigin
from tersor.saved.result_file import to_bytes
from tests.saved.results import X, compressed, net, parts_of, quantized, recurrent
from tests.zoo import ZOO

# Dictionaries and nested outputs, keyword inputs, tied weights, computed weights, attention.
CASES = (
    "decoder",
    "two_inputs",
    "tied_embedding",
    "shared_conv",
    "standardized",
    "causal_attention",
)


def outputs(model, args, kwargs):
    with torch.no_grad():
        found = model(*args, **kwargs)
    return pytree.tree_leaves(found), pytree.tree_structure(found)


def kept(result, folder):
    return tersor.load(result.save(folder / "q.tersor"))


def assert_same(result, again, folder, args, kwargs=None):
    assert type(again) is type(result)
    for name in ("network", "original", "prepared"):
        before, after = getattr(result, name, None), getattr(again, name, None)
        if before is not None:
            wanted, nesting = outputs(before, args, kwargs or {})
            found, structure = outputs(after, args, kwargs or {})
            assert structure == nesting
            assert all(torch.equal(x, y) for x, y in zip(wanted, found, strict=True))
            assert list(before.module.state_dict()) == list(after.module.state_dict())
    result.export(folder / "before.onnx")
    again.export(folder / "after.onnx")
    assert (folder / "before.onnx").read_bytes() == (folder / "after.onnx").read_bytes()
    assert again.records == result.records


@pytest.mark.parametrize("name", CASES)
def test_a_network_of_the_zoo_is_the_same_again(name, tmp_path):
    case = ZOO[name]
    args, kwargs = case.args(torch.float32), case.kwargs(torch.float32)
    result = tersor.quantize(case.make(), args, kwargs=kwargs or None)
    more = case.args(torch.float32, 3, 1), case.kwargs(torch.float32, 3, 1)
    assert_same(result, kept(result, tmp_path), tmp_path, *more)


@pytest.mark.parametrize(
    ("scheme", "weights"),
    [("dfq-paper", None), ("onnxruntime-cpu", 4), ("openvino-cpu", None), ("tensorrt", 3)],
)
def test_every_format_is_the_same_again(scheme, weights, tmp_path):
    result = tersor.quantize(net(), X, data=X, scheme=scheme, weights=weights)
    again = kept(result, tmp_path)
    assert again.scheme == result.scheme
    assert_same(result, again, tmp_path, (X,))


def test_open_axes_stay_open(tmp_path):
    again = kept(quantized(), tmp_path)
    assert_same(quantized(), again, tmp_path, (torch.randn(3, 3, 17, 15),))
    assert again.original.axes == quantized().original.axes
    assert again.training == quantized().training


def test_a_compressed_network_is_the_same_again_and_can_be_quantized(tmp_path):
    again = kept(compressed(), tmp_path)
    assert_same(compressed(), again, tmp_path, (X,))
    assert again.cost == compressed().cost
    wanted, found = (tersor.quantize(x, data=X, exclude="5") for x in (compressed(), again))
    assert torch.equal(found(X), wanted(X))


def test_a_carried_part_and_the_file_that_came_in_are_kept(tmp_path):
    result, x = recurrent(tmp_path)
    again = kept(result, tmp_path)
    assert_same(result, again, tmp_path, (x[:3],))
    (tmp_path / "recurrent.onnx").unlink()
    assert not again.export(tmp_path / "edited.onnx").anew
    floats = [
        export_onnx(r.original, tmp_path / f"{i}.onnx") for i, r in enumerate((result, again))
    ]
    assert floats[0].path.read_bytes() == floats[1].path.read_bytes()


def test_work_goes_on_where_it_stopped(tmp_path):
    again = kept(quantized(), tmp_path)
    path = again.export(tmp_path / "q.onnx").path
    assert again.verify(path, X, latency=False).sqnr == pytest.approx(
        quantized().verify(path, X, latency=False).sqnr
    )
    options = tersor.Training(epochs=1)
    trained = [tersor.train(q, [X], options=options) for q in (quantized(), again)]
    assert torch.equal(trained[0](X), trained[1](X))
    curve = kept(trained[0], tmp_path).training
    assert curve == trained[0].training
    assert len(curve) > 0


def test_what_was_assumed_is_kept(tmp_path):
    result = tersor.quantize(net(), X, input_range=(-1.0, 2.0))
    assert kept(result, tmp_path).assumed == result.assumed


def test_weights_keep_their_order_in_memory(tmp_path):
    result = compressed()
    copy = replace(result, network=result.original.copy())
    copy.network.module.to(memory_format=torch.channels_last)
    again = kept(copy, tmp_path)
    wanted, found = copy.state_dict().values(), again.state_dict().values()
    assert [order_of(x) for x in wanted] == [order_of(x) for x in found]
    assert not all(x.is_contiguous() for x in found)
    assert torch.equal(again(X), copy(X))


def order_of(x):
    """Strides, but for axes of one element, which have no place in memory."""
    return [stride for size, stride in zip(x.shape, x.stride(), strict=True) if size > 1]


def test_values_that_several_networks_share_are_stored_once():
    same = replace(compressed(), network=compressed().original.copy())
    _, tensors = parts_of(to_bytes(same._parts))
    assert {key.split("/")[0] for key in tensors} == {"network"}


def test_everything_that_a_result_holds_is_saved():
    """Whoever adds an attribute also adds it to `tersor.saved`, and to this list."""
    network = {"module", "args", "kwargs", "statistics", "records", "axes", "origin"}
    network |= {"input_names", "output_names"}
    quantized = {"network", "original", "training", "scheme", "prepared", "assumed", "compressed"}
    assert {x.name for x in fields(Network)} == network
    assert {x.name for x in fields(tersor.Quantized)} == quantized
    assert {x.name for x in fields(tersor.Compressed)} == {"network", "original", "training"}
    own = {name for name in vars(FakeQuantize(Grid())) if not name.startswith("_")}
    assert own == {"grid", "axis", "stored_only", "enabled", "training"}
    assert {x.name for x in fields(Origin)} - {"model", "path"} == {
        x.name for x in fields(SavedOrigin)
    } - {"content"}
