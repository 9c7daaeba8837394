"""Batches that are run together give what the network returns for each of them."""

import torch
from torch import fx, nn

import tersor
from tersor.quant.noise.simulated import Simulation, simulated
from tests.far_ranges import pictures, ranges


def test_every_batch_is_what_the_network_returns():
    network = tersor.quantize(ranges(), data=pictures(8), tolerance=None).network
    batches = [((pictures(2, seed),), {}) for seed in range(3)]
    found = [x for x in simulated(network, batches) if isinstance(x, torch.Tensor)]
    with torch.no_grad():
        wanted = [network(*args) for args, _ in batches]
    assert all(torch.equal(x, y) for x, y in zip(found, wanted, strict=True))
    assert not torch.equal(wanted[0], wanted[1])


def test_a_single_batch_holds_few_rounded_weights():
    """Each weight is rounded right before it is read, also where several calls read it."""
    layer = nn.Linear(32, 32)
    model = nn.Sequential(*[part for _ in range(8) for part in (layer, nn.Linear(32, 32))])
    x = torch.rand(4, 32)
    network = tersor.quantize(model.eval(), data=x, tolerance=None).network
    held = []

    class Counted(fx.Interpreter):
        def run_node(self, n):
            held.append(sum(y.shape == (32, 32) for y in self.env.values() if y is not None))
            return super().run_node(n)

    simulation = Simulation(network, is_used_again=False)
    graph = simulation._runner.graph
    assert isinstance(graph, fx.Graph)
    simulation._runner = Counted(network.module, graph=graph)
    found = simulation(((x,), {}))
    assert isinstance(found, torch.Tensor)
    with torch.no_grad():
        assert torch.equal(found, network(x))
    assert max(held) <= 4
