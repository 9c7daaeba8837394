"""Small networks behind a BatchNorm, and samples of every value in them."""

import torch
from torch import nn

from tersor.data.walk.observe import observe
from tersor.distributions.propagation import propagate
from tersor.frontend.capture import capture
from tersor.graph.simplify import fold

SAMPLES = 20_000


def normals(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.manual_seed(seed))


class Function(nn.Module):
    """conv → BatchNorm → the function under test; four channels."""

    def __init__(self, function, out=4, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(2, out, 3, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(out)
        self.function = function
        if isinstance(function, nn.Module):
            self.inner = function

    def forward(self, x):
        return self.function(self.bn(self.conv(x)))


def calibrated(module, x):
    """The module in float64, with random BatchNorm parameters and the statistics of x."""
    module = module.double()
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    generator = torch.manual_seed(1)
    for norm in norms:
        norm.momentum = None
        norm.weight.data.uniform_(0.5, 2.0, generator=generator)
        norm.weight.data[::3] *= -1
        norm.bias.data.normal_(0, 1, generator=generator)
    with torch.no_grad():
        module.train()(x)
    return module.eval()


def folded(function, x, **options):
    torch.manual_seed(0)
    network = capture(calibrated(Function(function, **options), x), x[:2])
    fold(network)
    return network


def sampled(network, x):
    """Node name → values [channels, samples] of every value that is known, and its distribution."""
    known = propagate(network)
    rows = {}

    def watcher(node):
        axis = known[node.name].axis
        return lambda value: rows.__setitem__(node.name, value.movedim(axis, 0).flatten(1))

    nodes = [n for n in network.graph.nodes if n.name in known and n.op == "call_function"]
    observe(network, [((x,), {})], {node: watcher(node) for node in nodes})
    return known, rows


def result(network):
    """The node that the network returns."""
    return next(n for n in reversed(network.graph.nodes) if n.op == "call_function")


def assert_moments(known, rows):
    """Mean and variance within 5 standard errors, and all samples inside the range."""
    center = rows - rows.mean(1, keepdim=True)
    var, fourth = center.square().mean(1), center.pow(4).mean(1)
    assert bool(((known.mean - rows.mean(1)).abs() < 5 * (var / SAMPLES).sqrt() + 1e-9).all())
    error = 5 * ((fourth - var**2) / SAMPLES).sqrt()
    assert bool(((known.var - var).abs() < error + 1e-9).all())
    assert bool((known.low <= rows.amin(1) + 1e-9).all())
    assert bool((rows.amax(1) <= known.high + 1e-9).all())
