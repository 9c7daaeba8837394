"""The named pipelines: which method serves where."""

import pytest
import torch

import tersor
from tersor.graph.network import source
from tersor.quant.place import quantizers
from tersor.quant.ranges import MSE, MinMax, Percentile
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
