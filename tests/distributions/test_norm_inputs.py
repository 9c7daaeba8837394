"""What BatchNorms say of their inputs, against samples of what is in front of them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tersor.distributions.norm_inputs import read_norms
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.network import Network

WIDTH = 4


def conv(inputs: int = 3, outputs: int = WIDTH) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Joined(nn.Module):
    """Two layers, joined and then normalized."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = conv(), conv(), nn.BatchNorm2d(2 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(torch.cat((self.a(x), self.b(x)), 1)))


class Shuffled(nn.Module):
    """The channels are shuffled between the join and the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = conv(), conv(), nn.BatchNorm2d(2 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat((self.a(x), self.b(x)), 1)
        n, c, h, w = y.shape
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return F.relu(self.norm(y))


class Flattened(nn.Module):
    """Each channel has many places in what is normalized."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = conv(), nn.BatchNorm1d(WIDTH * 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.a(x).flatten(1))


class Summed(nn.Module):
    """Sums of sums, of which the first summand is known: dilated branches, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(), conv(), conv()
        self.norm = nn.BatchNorm2d(3 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        first = self.a(x[:, :3])
        second = first + self.b(x[:, 3:6])
        third = second + self.c(x[:, 6:])
        return self.norm(torch.cat((first, second, third), 1))


class Nested(nn.Module):
    """What is left of a sum without its known part tells of a sum inside of the other part."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(outputs=2 * WIDTH), conv(), conv()
        self.first, self.last = nn.BatchNorm2d(2 * WIDTH), nn.BatchNorm2d(2 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        known = F.relu(self.first(self.a(x[:, :3])))
        inner = self.b(x[:, 3:6])
        joined = torch.cat((inner, inner + self.c(x[:, 6:])), 1)
        return self.last(known + F.interpolate(joined, scale_factor=1.0))


def counted(model: nn.Module, channels: int) -> tuple[Network, dict[str, Tensor]]:
    """The network after its norms have seen samples, and the results of its layers for them."""
    torch.manual_seed(0)
    x = torch.randn(256, channels, 8, 8) * 2 + 0.3
    for norm in model.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.momentum = None  # the mean over all batches, of which there is one
    with torch.no_grad():
        model.train()(x)
    seen: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, y, name=name: seen.update({name: y}))
    with torch.no_grad():
        model.eval()(x)
    for module in model.modules():
        module._forward_hooks.clear()
    return capture(model, (x[:2],)), seen


@pytest.mark.parametrize("kind", [Joined, Shuffled, Flattened, Summed, Nested])
def test_layers_in_front_of_a_norm_are_known(kind):
    network, seen = counted(kind(), 9 if kind in (Summed, Nested) else 3)
    read_norms(network)
    told = [layer for layer in layers(network) if layer.node.name in network.statistics]
    usual = {"a"} if kind is Nested else set()  # folding tells what is behind its norm
    assert {layer.name for layer in told} == seen.keys() - usual
    for layer in told:
        rows = seen[layer.name].movedim(1, 0).flatten(1)
        known = network.statistics[layer.node.name]
        assert torch.allclose(known.mean, rows.mean(1), atol=0.02), layer.name
        assert torch.allclose(known.std, rows.std(1), rtol=0.05), layer.name


def test_two_unknown_summands_share_what_is_known_of_the_sum():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.norm = conv(), conv(), nn.BatchNorm2d(WIDTH)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.a(x) + self.b(x))

    network, seen = counted(Net(), 3)
    read_norms(network)
    total = sum(seen.values())
    mean, std = total.mean((0, 2, 3)), total.std((0, 2, 3))
    for layer in layers(network):
        known = network.statistics[layer.node.name]
        assert torch.allclose(known.mean, mean / 2, atol=0.02)
        assert torch.allclose(known.std, std / 2**0.5, rtol=0.03)


def test_a_summand_that_takes_away_has_no_vanishing_range():
    """b = −a / 2: the sum varies less than a, and independence would say that b does not vary."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = conv(), conv()
            self.b.weight, self.b.bias = (nn.Parameter(-x / 2) for x in self.a.parameters())
            self.norm = nn.BatchNorm2d(2 * WIDTH)

        def forward(self, x: Tensor) -> Tensor:
            first = self.a(x)
            return self.norm(torch.cat((first, first + self.b(x)), 1))

    network, seen = counted(Net(), 3)
    read_norms(network)
    _, b = layers(network)
    known = network.statistics[b.node.name]
    real = seen["b"].movedim(1, 0).flatten(1).std(1)
    assert bool((known.std > 0.4 * real).all())
    assert torch.allclose(known.mean, seen["b"].mean((0, 2, 3)), atol=0.02)


@pytest.mark.parametrize("tokens", [1, 5])
def test_tokens_have_their_channels_on_the_last_axis(tokens):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.norm = nn.Linear(3, WIDTH), nn.BatchNorm1d(WIDTH)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.a(x).transpose(1, 2))

    model = Net()
    torch.manual_seed(0)
    x = torch.randn(512, tokens, 3)
    model.norm.momentum = None
    with torch.no_grad():
        model.train()(x)
        rows = model.eval().a(x).flatten(0, 1)
    network = capture(model, (x[:2],))
    read_norms(network)
    (layer,) = layers(network)
    known = network.statistics[layer.node.name]
    assert torch.allclose(known.mean, rows.mean(0), atol=0.02)
    assert torch.allclose(known.std, rows.std(0), rtol=0.03)


def test_what_is_no_layer_keeps_no_statistics():
    network, _ = counted(Joined(), 3)
    read_norms(network)
    assert set(network.statistics) == {layer.node.name for layer in layers(network)}


def test_a_norm_of_each_batch_says_nothing():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.norm = conv(), nn.BatchNorm2d(WIDTH, track_running_stats=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(torch.cat((self.a(x)[:, :2], self.a(x)[:, 2:]), 1))

    network = capture(Net().eval(), (torch.randn(2, 3, 8, 8),))
    read_norms(network)
    assert network.statistics == {}
