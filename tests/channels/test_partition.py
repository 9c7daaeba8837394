"""Channel classes: scaling any of them leaves the function alone, and none is forgotten."""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tersor.channels.partition import Channels, channels
from tersor.frontend.capture import capture
from tersor.graph.batchnorm import batch_norms
from tersor.graph.layers import layers
from tersor.graph.network import Network
from tersor.graph.norms import Norm
from tersor.graph.simplify import fold
from tersor.passes.rescale import rescale
from tests.captured import assert_same_function, captured
from tests.zoo import ZOO

ONE_AT_A_TIME = ("grouped", "leaky", "separable", "resnet", "shufflenet", "decoder", "conv1d")


def folded(name: str) -> Network:
    network = captured(name)
    fold(network)
    return network


def classes_to_scale(partition: Channels) -> list[int]:
    """Every class that a layer produces or consumes and that is said to be free."""
    ports = partition.producers + partition.consumers
    used = {index for port in ports for index in port.classes.tolist()}
    return sorted(used - partition.frozen.keys())


def check_scaling(network: Network, chosen: list[int]) -> None:
    """Scale the chosen classes by random factors, and compare outputs on new inputs."""
    before = network.copy()
    partition = channels(network)
    scale = torch.ones(partition.count, dtype=torch.float64)
    generator = torch.Generator().manual_seed(len(chosen))
    factors = torch.randn(len(chosen), dtype=torch.float64, generator=generator) * 2
    scale[chosen] = factors.exp()
    rescale(network, partition, scale)
    args = tuple(x.flip(-1).repeat(2, *[1] * (x.ndim - 1)) for x in network.args)
    kwargs = {key: x.repeat(2, *[1] * (x.ndim - 1)) for key, x in network.kwargs.items()}
    inputs = [(network.args, network.kwargs), (args, kwargs)]
    assert_same_function(network, before.module, inputs, tolerance=1e-10)


@pytest.mark.parametrize("name", ZOO)
def test_scaling_all_free_classes_keeps_the_function(name):
    network = folded(name)
    check_scaling(network, classes_to_scale(channels(network)))


@pytest.mark.parametrize("name", ONE_AT_A_TIME)
def test_scaling_one_class_keeps_the_function(name):
    network = folded(name)
    free = classes_to_scale(channels(network))
    assert free
    for index in free:
        check_scaling(network.copy(), [index])


# --- which classes are found --------------------------------------------------------------------


class Net(nn.Module):
    """Layers by name, and the function that calls them."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def conv(inputs: int, outputs: int, kernel: int = 1, **options) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, **options)


def network_of(forward, example: Tensor | None = None, **parts) -> Network:
    torch.manual_seed(0)
    example = torch.randn(2, 3, 4, 4) if example is None else example
    for part in parts.values():
        if isinstance(part, nn.Module) and hasattr(part, "reset_parameters"):
            part.reset_parameters()
    return capture(Net(forward, **parts).double(), example.double())


class Ends:
    """Classes at both ends of each layer, by the layer's name."""

    def __init__(self, network: Network):
        self.partition = channels(network)
        self.out = {port.layer.name: port.classes.tolist() for port in self.partition.producers}
        self.into = {port.layer.name: port.classes.tolist() for port in self.partition.consumers}

    def reasons(self, classes: list[int]) -> set[str | None]:
        return {self.partition.frozen.get(index) for index in classes}

    def are_free(self, classes: list[int]) -> bool:
        return self.reasons(classes) == {None}

    def are_frozen(self, classes: list[int]) -> bool:
        return None not in self.reasons(classes)


def test_a_chain_is_one_class_per_channel():
    ends = Ends(
        network_of(lambda m, x: m.b(F.relu(m.a(x))).mean((2, 3)), a=conv(3, 4), b=conv(4, 2))
    )
    assert ends.out["a"] == ends.into["b"]
    assert len(set(ends.out["a"])) == 4
    assert ends.are_free(ends.out["a"])
    assert ends.reasons(ends.into["a"]) == {"it is an input of the network"}
    assert ends.reasons(ends.out["b"]) == {"it is an output of the network"}


def test_a_residual_join_couples_both_producers():
    def forward(m, x):
        x = F.relu(m.stem(x))
        y = F.relu(x + m.branch(x))
        return m.head(y)

    parts = {"stem": conv(3, 4), "branch": conv(4, 4), "head": conv(4, 2)}
    ends = Ends(network_of(forward, **parts))
    assert ends.out["stem"] == ends.out["branch"] == ends.into["branch"] == ends.into["head"]
    assert len(set(ends.out["stem"])) == 4
    assert ends.are_free(ends.out["stem"])


def test_a_concatenation_keeps_channels_apart():
    def forward(m, x):
        return m.head(torch.cat((F.relu(m.left(x)), m.right(x)), 1))

    ends = Ends(network_of(forward, left=conv(3, 4), right=conv(3, 2), head=conv(6, 2)))
    assert ends.into["head"] == ends.out["left"] + ends.out["right"]
    assert len(set(ends.into["head"])) == 6


def test_a_channel_shuffle_permutes():
    def forward(m, x):
        x = m.a(x)
        n, c, h, w = x.shape
        return m.b(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))

    ends = Ends(network_of(forward, a=conv(3, 6), b=conv(6, 2)))
    assert ends.into["b"] == [ends.out["a"][i] for i in (0, 3, 1, 4, 2, 5)]
    same = Ends(
        network_of(lambda m, x: m.b(F.channel_shuffle(m.a(x), 2)), a=conv(3, 6), b=conv(6, 2))
    )
    assert same.into["b"] == [same.out["a"][i] for i in (0, 3, 1, 4, 2, 5)]


def test_flatten_repeats_each_channel():
    ends = Ends(
        network_of(
            lambda m, x: m.b(F.max_pool2d(m.a(x), 2).flatten(1)),
            a=conv(3, 4),
            b=nn.Linear(16, 2),
        )
    )
    assert ends.into["b"] == [index for index in ends.out["a"] for _ in range(4)]


def test_a_depthwise_layer_ends_a_class_and_starts_one():
    parts = {"a": conv(3, 4), "d": conv(4, 4, 3, groups=4), "b": conv(4, 2)}
    ends = Ends(network_of(lambda m, x: m.b(m.d(m.a(x))), **parts))
    assert ends.out["a"] == ends.into["d"]
    assert ends.out["d"] == ends.into["b"]
    assert not {*ends.into["d"]} & {*ends.out["d"]}


@pytest.mark.parametrize("gate", [torch.sigmoid, F.hardsigmoid, lambda x: F.relu6(x + 3) / 6])
def test_a_gate_leaves_the_gated_value_free(gate):
    def forward(m, x):
        x = F.relu(m.a(x))
        weights = m.expand(F.relu(m.reduce(x.mean((2, 3)))))
        return m.b(x * gate(weights)[:, :, None, None])

    parts = {"a": conv(3, 4), "reduce": nn.Linear(4, 2), "expand": nn.Linear(2, 4)}
    ends = Ends(network_of(forward, **parts, b=conv(4, 2)))
    assert ends.out["a"] == ends.into["reduce"] == ends.into["b"]
    assert ends.are_free(ends.out["a"])
    assert ends.are_free(ends.out["reduce"])
    assert ends.are_frozen(ends.out["expand"])


def test_relu6_is_a_clip_of_its_class():
    network = network_of(lambda m, x: m.b(F.relu6(m.a(x))), a=conv(3, 4), b=conv(4, 2))
    (clip,) = channels(network).clips
    ends = Ends(network)
    assert str(clip.node.target) in ("aten.relu6.default", "aten.hardtanh.default")
    assert clip.classes.tolist() == ends.out["a"] == ends.into["b"]
    assert clip.axis == -3
    assert ends.are_free(ends.out["a"])


def test_relu6_on_tokens_clips_along_the_last_axis():
    tokens = torch.randn(2, 5, 3)
    network = network_of(
        lambda m, x: m.b(F.relu6(m.a(x))), tokens, a=nn.Linear(3, 4), b=nn.Linear(4, 2)
    )
    (clip,) = channels(network).clips
    assert clip.axis == -1
    assert clip.classes.tolist() == Ends(network).into["b"]


def test_a_shared_weight_is_frozen_at_both_ends():
    ends = Ends(
        network_of(lambda m, x: m.b(F.relu(m.s(F.relu(m.s(x))))), s=conv(3, 3), b=conv(3, 2))
    )
    assert ends.are_frozen(ends.into["b"])
    assert any("s shares its weight" in reason for reason in ends.reasons(ends.into["b"]))


def test_a_shared_bias_is_not_a_shared_weight():
    def forward(m, x):
        return m.c(F.conv2d(F.relu(F.conv2d(x, m.v, m.bias)), m.w, m.bias))

    parts = {"v": (4, 3, 1, 1), "w": (4, 4, 1, 1), "bias": (4,)}
    parameters = {name: nn.Parameter(torch.randn(shape)) for name, shape in parts.items()}
    network = network_of(forward, **parameters, c=conv(4, 2))
    assert len(classes_to_scale(channels(network))) == 8


def test_zero_channels_of_a_shortcut_join_those_of_the_branch():
    """ResNet's parameter-free shortcut: subsample, and pad with channels of zeros."""

    def forward(m, x):
        x = F.relu(m.stem(x))
        short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))
        return m.head(F.relu(m.branch(x) + short))

    network = network_of(forward, stem=conv(3, 2), branch=conv(2, 4, stride=2), head=conv(4, 2))
    ends = Ends(network)
    assert ends.out["branch"] == ends.into["head"]
    assert ends.out["branch"][1:3] == ends.out["stem"]
    assert len(set(ends.out["branch"])) == 4
    assert ends.are_free(ends.out["branch"])
    check_scaling(network, classes_to_scale(channels(network)))


def test_reasons_name_the_op():
    ends = Ends(network_of(lambda m, x: m.b(F.silu(m.a(x))), a=conv(3, 4), b=conv(4, 2)))
    assert ends.reasons(ends.out["a"]) == {"silu does not commute with a scale"}


def test_an_output_that_is_read_elsewhere_is_frozen():
    def forward(m, x):
        y = F.relu(m.a(x))
        return y, m.b(y)

    ends = Ends(network_of(forward, a=conv(3, 4), b=conv(4, 2)))
    assert ends.reasons(ends.into["b"]) == {"it is an output of the network"}


# --- ops that look as if they commute with a scale ----------------------------------------------

CAP = torch.tensor([0.5, 1.0, 1.5, 2.0]).view(4, 1, 1)
MAP = torch.linspace(-1, 1, 16).view(1, 1, 4, 4)


def merge_batch(m, x):
    n, c, h, w = x.shape
    return m.single(x.reshape(n * c, 1, h, w)).reshape(n, 2 * c, h, w)


def between(function, **parts):
    """A layer `a`, the function, and a layer `b` that reads four channels."""
    defaults = {"a": conv(3, 4), "b": conv(4, 2)}
    return (lambda m, x: m.b(function(m, m.a(x))), {**defaults, **parts})


def stored(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.clone(), requires_grad=False)


# name → (network, how many classes of `a` and `b` are free between them)
ODD = {
    "negated before a clip": (*between(lambda m, x: F.relu6(-x)), 4),
    "negative factor before a clip": (*between(lambda m, x: F.relu6(-2 * x)), 4),
    "absolute value before a clip": (*between(lambda m, x: (x.abs() - x).clamp(0, 3)), 4),
    "clip from above only": (*between(lambda m, x: x.clamp(max=0.3)), 4),
    "clip from above below zero": (*between(lambda m, x: x.clamp(max=-0.2)), 4),
    "clamp_max op": (*between(lambda m, x: torch.clamp_max(x, 0.3)), 4),
    "clip from below at zero": (*between(lambda m, x: x.clamp(min=0)), 4),
    "clip from below above zero": (*between(lambda m, x: x.clamp(min=0.1)), 0),
    "clip with a lower bound": (*between(lambda m, x: x.clamp(0.1, 6)), 0),
    "hardtanh": (*between(lambda m, x: F.hardtanh(x)), 0),
    "two clips": (*between(lambda m, x: F.relu6(F.relu6(4 * x).clamp(max=3) - x)), 4),
    "clip with the batch elsewhere": (
        lambda m, x: m.b(F.relu6(5 * m.a(x).transpose(0, 1)).transpose(0, 1)),
        {"a": conv(3, 1), "b": conv(1, 2)},
        1,
    ),
    "stored clip for all": (
        *between(lambda m, x: torch.minimum(x, m.cap), cap=stored(torch.tensor(0.2))),
        4,
    ),
    "stored clip per channel": (
        *between(lambda m, x: torch.minimum(x, m.cap), cap=stored(CAP)),
        4,
    ),
    "stored clip, read twice": (
        *between(
            lambda m, x: torch.minimum(x, m.cap) - torch.minimum(2 * x, m.cap), cap=stored(CAP)
        ),
        4,
    ),
    "stored clip per position": (
        *between(lambda m, x: torch.minimum(x, m.cap), cap=stored(MAP)),
        0,
    ),
    "stored clip on the left": (
        *between(lambda m, x: torch.minimum(m.cap, x), cap=stored(CAP)),
        0,
    ),
    "stored bounds of a clamp": (
        *between(lambda m, x: torch.clamp(x, m.cap * 0, m.cap), cap=stored(CAP)),
        0,
    ),
    "stored factor per channel": (*between(lambda m, x: x * m.gain, gain=stored(CAP)), 4),
    "stored factor on the left": (*between(lambda m, x: m.gain * x, gain=stored(CAP)), 4),
    "stored factor per position": (*between(lambda m, x: x * m.gain, gain=stored(MAP)), 4),
    "computed constant factor": (*between(lambda m, x: x * m.gain.exp(), gain=stored(CAP)), 4),
    "divided by a number": (*between(lambda m, x: x / 3), 4),
    "divided by a stored tensor": (*between(lambda m, x: x / m.gain, gain=stored(CAP)), 4),
    "divided by a size": (*between(lambda m, x: x / x.shape[0]), 4),
    "number divided by it": (*between(lambda m, x: 1 / (x.abs() + 1)), 0),
    "reciprocal": (*between(lambda m, x: 0.01 / x), 0),
    "stored tensor divided by it": (*between(lambda m, x: m.gain / x, gain=stored(CAP)), 0),
    "rounded quotient": (*between(lambda m, x: torch.div(x, 0.1, rounding_mode="floor")), 0),
    "square": (*between(lambda m, x: x * x), 0),
    "product of two": (*between(lambda m, x: x * m.c(x), c=conv(4, 4)), 0),
    "product with an input": (
        lambda m, x: m.b(m.a(x) * x[:, :1]),
        {"a": conv(3, 4), "b": conv(4, 2)},
        4,
    ),
    "number added": (*between(lambda m, x: x + 1), 0),
    "size added": (*between(lambda m, x: x + x.shape[-1]), 0),
    "stored tensor added": (*between(lambda m, x: x + m.shift, shift=stored(CAP)), 0),
    "broadcast sum over channels": (*between(lambda m, x: x + m.c(x), c=conv(4, 1)), 1),
    "broadcast sum over positions": (*between(lambda m, x: x - x.mean((2, 3), keepdim=True)), 4),
    "sum with a factor": (*between(lambda m, x: torch.add(x, F.relu(x), alpha=-0.7)), 4),
    "maximum of two": (*between(lambda m, x: torch.maximum(x, -0.3 * x)), 4),
    "minimum of two": (*between(lambda m, x: torch.minimum(x, F.relu(-x))), 4),
    "one slope": (
        *between(lambda m, x: F.prelu(x, m.slope), slope=stored(torch.tensor([-0.4]))),
        4,
    ),
    "slope per channel": (
        *between(lambda m, x: F.prelu(x, m.slope), slope=stored(CAP.flatten())),
        4,
    ),
    "slope from the input": (*between(lambda m, x: F.prelu(x, x.mean((0, 2, 3)))), 0),
    "mean over channels": (*between(lambda m, x: x - x.mean(1, keepdim=True)), 1),
    "sum over channels": (*between(lambda m, x: x * 0.5 + x.sum(1, keepdim=True)), 1),
    "maximum over channels": (*between(lambda m, x: x - x.amax(1, keepdim=True)), 1),
    "mean over everything": (*between(lambda m, x: x - x.mean((0, 1, 2, 3))), 1),
    "softmax over channels": (*between(lambda m, x: x.softmax(1)), 0),
    "joined batch": (*between(lambda m, x: torch.cat((x, 0.5 * x))), 4),
    "joined batch of two layers": (
        *between(lambda m, x: torch.cat((x, m.c(x))), c=conv(4, 4)),
        0,
    ),
    "batch and channels in one axis": (
        lambda m, x: m.b(merge_batch(m, m.a(x))),
        {"a": conv(3, 4), "single": conv(1, 2), "b": conv(8, 2)},
        2,  # those of `single`
    ),
    "channels turned into positions": (
        *between(lambda m, x: x.flatten(2).transpose(1, 2).reshape(x.shape)),
        0,
    ),
    "pool with indices": (*between(lambda m, x: F.max_pool2d(x, 2, return_indices=True)[0]), 0),
    "pool over a vector": (
        lambda m, x: m.fc(F.avg_pool1d(m.a(x).mean((2, 3)), 2)),
        {"a": conv(3, 4), "fc": nn.Linear(2, 2)},
        1,
    ),
    "layers without a batch": (
        lambda m, x: m.b(F.max_pool2d(m.a(x.mean(0)), 2)) + x[:, :2, :2, :2],
        {"a": conv(3, 4), "b": conv(4, 2)},
        4,
    ),
    "padded with ones": (*between(lambda m, x: F.pad(x, (1, 1), value=1.0)), 0),
    "padded with zeros": (*between(lambda m, x: F.pad(x, (1, 0, -1, 2))), 4),
    "padded by reflection": (*between(lambda m, x: F.pad(x, (1, 1, 1, 1), "reflect")), 4),
    "channels cut off and zeros put in": (
        *between(lambda m, x: F.pad(x, (0, 0, 1, 0, -1, 1))),
        3,
    ),
    "weight from the input": (
        lambda m, x: m.b(F.conv2d(m.a(x), m.w * x.mean())),
        {"a": conv(3, 4), "w": stored(torch.randn(4, 4, 1, 1)), "b": conv(4, 2)},
        0,
    ),
    "weight from a layer": (
        lambda m, x: F.conv2d(x, F.relu(m.a(x)).mean((0, 2, 3)).view(1, 4)[:, :3, None, None]),
        {"a": conv(3, 4)},
        0,
    ),
    "bias from the input": (
        lambda m, x: m.b(F.conv2d(x, m.w, x.mean((0, 2, 3)))),
        {"w": stored(torch.randn(3, 3, 1, 1)), "b": conv(3, 2)},
        0,
    ),
    "bias from a layer": (
        lambda m, x: F.conv2d(x, m.w, F.relu(m.a(x)).mean((0, 2, 3))),
        {"w": stored(torch.randn(4, 3, 1, 1)), "a": conv(3, 4)},
        0,
    ),
    "weight read elsewhere too": (
        lambda m, x: m.b(F.conv2d(x, m.w)) * m.w.mean(),
        {"w": stored(torch.randn(4, 3, 1, 1)), "b": conv(4, 2)},
        0,
    ),
    "stored channels beside computed ones": (
        lambda m, x: m.b(torch.cat((m.a(x), m.extra.expand(x.shape[0], -1, -1, -1)), 1)),
        {"a": conv(3, 3), "extra": stored(torch.randn(1, 1, 4, 4)), "b": conv(4, 2)},
        3,
    ),
    "layer on a stored tensor": (
        *between(
            lambda m, x: x + m.c(m.extra), c=conv(3, 4), extra=stored(torch.randn(1, 3, 1, 1))
        ),
        0,
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_networks_keep_their_function(name):
    forward, parts, expected = ODD[name]
    network = network_of(forward, **parts)
    partition = channels(network)
    made = {index for port in partition.producers for index in port.classes.tolist()}
    used = {index for port in partition.consumers for index in port.classes.tolist()}
    assert len((made & used) - partition.frozen.keys()) == expected
    free = classes_to_scale(partition)
    check_scaling(network.copy(), free)
    for index in free:
        check_scaling(network.copy(), [index])


def test_an_unfolded_batch_norm_freezes_what_it_reads_and_makes_new_channels():
    network = captured("densenet")
    partition = channels(network)
    reasons = Counter(partition.frozen.values())
    assert any("batch_norm" in reason for reason in reasons)
    norms = [port.layer for port in partition.producers if isinstance(port.layer, Norm)]
    assert len(norms) == len(list(batch_norms(network)))
    assert len(partition.producers) == len(norms) + len(list(layers(network)))
