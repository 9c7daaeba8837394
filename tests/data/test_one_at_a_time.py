"""One change at a time, against whole networks that are changed."""

import pytest
import torch

from tersor.data.outputs.outputs import noise_to_signal
from tersor.data.walk.one_at_a_time import outputs_of, stops
from tersor.graph.layers import Layer, layers
from tests.captured import captured
from tests.zoo import ZOO


@pytest.fixture(scope="module", params=["resnet", "densenet", "shufflenet"])
def given(request):
    """A network, batches, and what it returns for them."""
    network = captured(request.param)
    batches = [(ZOO[request.param].args(torch.float64, batch=2, seed=seed), {}) for seed in (0, 1)]
    with torch.no_grad():
        return network, batches, [network(*args) for args, _ in batches]


def test_the_outputs_are_those_of_the_network(given):
    network, batches, wanted = given
    torch.testing.assert_close(outputs_of(network, batches), wanted)
    assert outputs_of(network, []) == []


def test_damage_is_that_of_the_changed_network(given):
    network, batches, reference = given
    seen = 0
    for stop in stops(network, batches, [layer.node for layer in layers(network)]):
        layer = Layer(stop.node, network)
        before = layer.weight.detach().clone()
        network.replace_tensor(layer.weight_node, before * 1.1)
        with torch.no_grad():
            changed = [network(*args) for args, _ in batches]
        damage = stop.rest.damage(reference)
        network.replace_tensor(layer.weight_node, before)
        assert damage == pytest.approx(noise_to_signal(changed, reference), rel=1e-9)
        assert damage > 0
        assert stop.rest.damage(reference) == pytest.approx(0, abs=1e-25)
        seen += 1
    assert seen == len(list(layers(network)))


def test_a_stop_shows_what_its_node_reads_and_writes(given):
    network, batches, _ = given
    nodes = [layer.node for layer in layers(network)][-2:]
    found = list(stops(network, batches, nodes, judged=slice(1, None)))
    assert [stop.node for stop in found] == nodes
    for stop in found:
        layer = Layer(stop.node, network)
        assert len(stop.given) == len(stop.written) == len(batches)
        for x, y in zip(stop.given, stop.written, strict=True):
            torch.testing.assert_close(layer.run(x, layer.weight.detach()), y)
        assert len(stop.rest.stream.finish(stop.rest.nodes)) == 1
