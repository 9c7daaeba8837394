"""The graph is simplified as onnxscript's optimizer does it, in less time."""

from collections import Counter

import onnxscript.optimizer
import pytest

from tersor.export.onnx.anew import write_anew
from tersor.export.onnx.translation import translate
from tersor.frontend.capture import capture
from tests.export.models import quantize_by_hand
from tests.zoo import ZOO


def ops(network):
    return Counter(node.op_type for node in write_anew(network).model.graph)


@pytest.mark.parametrize("name", ["mobilenetv2", "encoder_layer", "static_padding", "functional"])
def test_the_nodes_are_those_of_the_optimizer(name, monkeypatch):
    network = capture(ZOO[name].make(), ZOO[name].args(), ZOO[name].kwargs())
    quantized = quantize_by_hand(network.copy())
    found = [ops(made) for made in (network, quantized)]
    monkeypatch.setattr(translate, "simplify", onnxscript.optimizer.optimize)
    assert found == [ops(made) for made in (network, quantized)]
