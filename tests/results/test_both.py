"""Compressed, then quantized: each step's loss is told, against the model that came in."""

import copy

import numpy as np
import pytest
import torch

import tersor
from tersor.core.metrics import sqnr
from tersor.graph.costs import costs
from tests import nets


@pytest.fixture(scope="module")
def small():
    return tersor.compress(*nets.with_example(), macs=0.7, data=nets.images(32))


@pytest.fixture(scope="module")
def both(small):
    return tersor.quantize(small, data=nets.images(32))


def test_both_steps_are_compared_with_the_model_that_came_in(small, both, tmp_path):
    model, images = nets.with_example()[0].eval(), nets.images(48)
    found = both.verify(both.export(tmp_path / "both.onnx").path, images, latency=False)
    with torch.no_grad():
        floating = model(images)
        steps = {"compressed": small(images), "simulated": both(images)}
    for name, outputs in steps.items():
        (told,) = getattr(found, name).values()
        assert told.sqnr == pytest.approx(sqnr(floating, outputs), abs=0.01)
    labels = [label for label, _ in found.rows()]
    assert labels.index("compressed against float") < labels.index("simulation against float")
    assert found.as_dict()["compressed"]


@pytest.mark.parametrize("costly", ["compression", "quantization"])
def test_the_remedy_is_for_the_step_that_costs_most(costly, both, tmp_path):
    images, result = nets.images(32), both
    if costly == "quantization":
        hardly = tersor.compress(*nets.with_example(), macs=0.97, data=images)
        result = tersor.quantize(hardly, data=images, weights={"*": 2})
    path = result.export(tmp_path / "x.onnx").path
    found = result.verify(path, images, latency=False)
    assert found.costs_most == costly
    assert (found.remedy == "train") == (costly == "compression")


def test_a_model_that_was_not_compressed_has_no_such_row(tmp_path):
    q = tersor.quantize(*nets.with_example())
    found = q.verify(q.export(tmp_path / "q.onnx").path, nets.images(4), latency=False)
    assert q.compressed is None
    assert found.compressed == {}
    assert found.costs_most == "quantization"
    assert "compressed against float" not in str(found)


def test_what_is_left_is_told(small, both):
    rows = dict(both.rows())
    assert (rows["MACs"], rows["parameters"]) == tuple(value for _, value in small.rows())


def test_a_saved_result_and_a_copy_tell_the_same(both, tmp_path):
    both.save(tmp_path / "both.tersor")
    path, images = both.export(tmp_path / "both.onnx").path, nets.images(8)
    expected = both.verify(path, images, latency=False).compressed
    for other in (tersor.load(tmp_path / "both.tersor"), copy.deepcopy(both)):
        assert other.verify(path, images, latency=False).compressed == expected


def test_a_saved_compressed_model_is_quantized_by_its_name(small, both, tmp_path):
    small.save(tmp_path / "small.tersor")
    images = nets.images(32)
    again = tersor.quantize(str(tmp_path / "small.tersor"), data=images)
    with torch.no_grad():
        np.testing.assert_array_equal(again(images), both(images))
    assert again.compressed is not None


def test_a_report_is_made_of_it(small, both):
    found = both.report(inputs=nets.images(8))
    assert found.kind == "quantized"
    assert found.before.macs == small.original_cost.macs
    assert found.after == small.cost
    assert {layer.name for layer in found.layers} == set(costs(small.network))
