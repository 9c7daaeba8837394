"""The named pipelines: which method serves where."""

import pytest
import torch
from torch import nn

import tersor
from tersor.errors import TersorError
from tersor.graph.nodes import source
from tersor.quant.fast_rounding import Rounding
from tersor.quant.placement.place import quantizers
from tersor.quant.range_methods import MSE, MinMax, Percentile
from tests import nets


def weight_errors(bits, method):
    """Squared rounding error of every weight."""
    options = tersor.DataFree(weight_range=method)
    quantized = tersor.quantize(*nets.with_example(), weights=bits, options=options)
    network = quantized.network
    pairs = [(source(node), quantizer) for node, quantizer in quantizers(network)]
    stored = [(network.tensor(s).detach(), q) for s, q in pairs if s.op == "get_attr"]
    return torch.stack([(q(w) - w).square().sum() for w, q in stored])


@pytest.mark.parametrize(("bits", "method"), [(4, MSE()), (8, MinMax())])
def test_narrow_weights_are_clipped_where_that_costs_least(bits, method):
    assert torch.equal(weight_errors(bits, None), weight_errors(bits, method))


def test_the_method_can_be_chosen():
    assert bool((weight_errors(4, MSE()) < weight_errors(4, Percentile(90.0))).all())


def test_data_are_level_2():
    network, example = nets.with_example()
    quantized = tersor.quantize(network, example, data=nets.images(64), weights=4)
    steps = {record.step for record in quantized.records}
    assert "round" in steps
    assert not any("random inputs" in getattr(r, "what", "") for r in quantized.records)


@pytest.mark.parametrize("scheme", ["dfq-paper", "onnxruntime-cpu"])
def test_nothing_is_equalized_where_a_solver_rounds(scheme):
    network, example = nets.with_example()

    def is_equalized(rounding):
        options = tersor.WithData(rounding=rounding)
        data = nets.images(64)
        found = tersor.quantize(network, example, data=data, scheme=scheme, options=options)
        return any(record.step == "equalize" for record in found.records)

    assert is_equalized(None)
    assert not is_equalized(Rounding())


def test_bits_by_name_of_a_layer():
    network, example = nets.with_example()
    quantized = tersor.quantize(network, example, weights={"*": 4, "0": 8, "8": 3})
    found = {source(node).target: q.grid.bits for node, q in quantizers(quantized.network)}
    assert [found[name] for name in ("0.weight", "3.weight", "8.weight")] == [8, 4, 3]
    with pytest.raises(TersorError, match="no layer or sub-module is called 'head'"):
        tersor.quantize(network, example, weights={"head": 4})
    with pytest.raises(TersorError, match="weights of '3'=1 bits; choose a width from 2 to 16"):
        tersor.quantize(network, example, weights={"3": 1})


def test_options_of_the_other_level():
    network, example = nets.with_example()
    with pytest.raises(TersorError, match="options=WithData is for a run with data"):
        tersor.quantize(network, example, options=tersor.WithData())
    with pytest.raises(TersorError, match="options=DataFree is for a run without data"):
        tersor.quantize(network, example, data=example, options=tersor.DataFree())


def test_a_range_beside_data():
    network, example = nets.with_example()
    with pytest.raises(TersorError, match="give data or input_range, not both"):
        tersor.quantize(network, example, data=example, input_range=(0.0, 1.0))


def test_unfit_data_are_refused_before_any_work():
    steps = []
    with pytest.raises(TersorError, match="has shape"):
        tersor.quantize(*nets.with_example(), data=torch.ones(4, 3), on_step=steps.append)
    assert steps == ["capture the model"]


def test_every_layer_is_told_of():
    told = []
    tersor.quantize(
        *nets.with_example(), data=nets.images(16), on_layer=lambda *args: told.append(args)
    )
    assert [(number, total) for number, total, _ in told] == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("model", "shape"), [(nn.Conv2d(1, 1, 1), (4, 1, 5, 5)), (nn.Linear(1, 1), (8, 1))]
)
def test_a_layer_of_one_weight_is_a_layer(model, shape):
    result = tersor.quantize(model.eval(), data=torch.randn(shape), tolerance=None)
    assert [quantizer.enabled for _, quantizer in quantizers(result.network)]
