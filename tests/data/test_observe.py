"""Values reach their watchers, and nothing is computed that no watched value needs."""

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tersor.data.walk.observe import observe
from tersor.frontend.capture import capture


class Two(nn.Module):
    """A layer after another, and one beside them."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.beside = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 2)

    def forward(self, x, y):
        return self.second(torch.relu(self.first(x))), self.beside(y)


class Calls(TorchDispatchMode):
    """Counts matrix products."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += "mm" in str(func)
        return func(*args, **(kwargs or {}))


def test_no_more_is_computed_than_is_watched():
    model, x, y = Two().eval(), torch.randn(5, 3), torch.randn(5, 2)
    network = capture(model, (x, y))
    given = network.graph.find_nodes(op="placeholder")
    linears = [node for node in network.graph.nodes if "linear" in str(node.target)]
    relu = next(node for node in network.graph.nodes if "relu" in str(node.target))
    wanted = {
        given[0]: x,
        given[1]: y,
        relu: torch.relu(model.first(x)),
        linears[2]: model.beside(y),
    }
    for nodes, products in ((given, 0), ([relu], 1), ([given[0], relu, linears[2]], 2)):
        seen = {node: list[torch.Tensor]() for node in nodes}
        with Calls() as calls:
            observe(network, [((x, y), {})] * 2, {node: seen[node].append for node in nodes})
        assert calls.count == 2 * products
        for node in nodes:
            assert len(seen[node]) == 2
            assert all(torch.equal(value, wanted[node]) for value in seen[node])
