"""Calls that stay in float are only those that change something."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.graph.layers import layers
from tersor.quant.placement.kept import Mixtures
from tersor.quant.placement.noisy_calls import Noise
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tests.captured import captured


@pytest.fixture(scope="module", params=["resnet", "separable", "densenet", "shufflenet"])
def network(request):
    return captured(request.param)


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False), st.floats(0, 1))
def test_calls_are_left_out_if_the_same_values_are_rounded_without_them(network, random, share):
    """A call that is apart from all integers is told without an analysis of the whole network."""
    found = list(layers(network))
    noise = Noise({}, {layer.node.name: torch.zeros(1) for layer in found})
    mixtures = Mixtures(network, ONNXRUNTIME_CPU, found, (), noise)
    names = [node.name for node in network.graph.nodes if node.op == "call_function"]
    kept = frozenset(name for name in names if random.random() < share)
    wanted, weighted = kept, {layer.node.name for layer in found}
    for name in sorted(kept - weighted):
        if mixtures._seen(wanted - {name}).values == mixtures._seen(kept).values:
            wanted -= {name}
    assert mixtures.pruned(kept) == wanted
