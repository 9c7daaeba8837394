"""Hints: what blocks return, found, exposed and compared with the float network."""

import pytest
import torch
from torch import nn

import tersor
from tersor import Training
from tersor.errors import InvalidInputError
from tersor.graph.capture import capture
from tersor.graph.network import source
from tersor.passes.fold import fold
from tersor.train.features import block_outputs, expose, hints
from tersor.train.objective import Distillation
from tests.train.setting import batches, inputs, labelled, model, quantized, short


class Structured(nn.Module):
    """Outputs in a dictionary, one of them in a tuple."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        y = torch.relu(self.body(x))
        return {"map": self.head(y), "mean": (y.mean(),)}


class Bottleneck(nn.Module):
    """A residual block, a convolution without an activation, and a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.linear = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.second(torch.relu(self.first(x))))
        return self.head(torch.relu(self.linear(x)).mean((2, 3)))


def test_an_exposed_network_returns_the_same_and_more():
    network = capture(Structured().eval(), (inputs(2),))
    expected = network(inputs(5))
    (relu,) = (node.name for node in network.nodes() if "relu" in node.name)
    expose(network, [relu])
    outputs, (value,) = network(inputs(5))
    assert outputs.keys() == expected.keys() == {"map", "mean"}
    assert torch.equal(outputs["map"], expected["map"])
    assert torch.equal(outputs["mean"][0], value.mean())


def test_blocks_are_residual_branches_and_layers_with_their_activation():
    network = capture(Bottleneck().eval(), (inputs(2),))
    assert block_outputs(network, network) == ["relu", "relu_2", "relu_3"]


def test_what_a_layer_writes_and_what_is_not_alike_is_left_out():
    teacher = capture(model(), (inputs(2),))
    fold(teacher)
    assert block_outputs(teacher, quantized().network) == ["silu", "relu"]
    bare = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    whole = capture(bare.eval(), (inputs(2),))
    assert block_outputs(whole, whole) == ["relu"]
    pruned = capture(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)).eval(),
        (inputs(2),),
    )
    assert block_outputs(whole, pruned) == []


def test_hints_are_relative_errors():
    t = (torch.tensor([[3.0, 4.0]]), torch.tensor([[0.1, 0.0]]))
    f = (torch.tensor([[3.0, 5.0]]), torch.tensor([[0.1, 0.0]]))
    assert hints(f, t) == pytest.approx((1 / 25 + 0) / 2)
    assert hints(t, t) == 0


def test_the_loss_is_the_sum_of_both():
    loss = Distillation(nn.Identity(), 1.0, "mse", features=10.0, blocks=["relu"])
    y, t, f, g = torch.ones(2, 3), torch.zeros(2, 3), torch.full((2, 4), 2.0), torch.ones(2, 4)
    assert loss((y, (f,)), (t, (g,))) == pytest.approx(1 + 10 * 1)
    loss.progress = 0.75
    assert loss((y, (f,)), (t, (g,))) == pytest.approx(1 + 2.5 * 1)


def inner_errors(q):
    """Relative errors of what blocks return, on images that nobody has trained on."""
    teacher = q.original.copy()
    fold(teacher)
    names = block_outputs(teacher, q.network)
    student = q.network.copy()
    expose(teacher, names)
    expose(student, names)
    with torch.no_grad():
        x = inputs(64, seed=9)
        return float(hints(student(x)[1], teacher(x)[1]))


def test_blocks_come_nearer_to_the_float_network_than_by_outputs_alone(tmp_path):
    q = quantized(bits=2)
    options = short(epochs=10)
    alone = tersor.train(q, batches(), options=options)
    hinted = tersor.train(q, batches(), options=short(epochs=10, features=10.0))
    assert inner_errors(hinted) < inner_errors(alone)
    found = hinted.export(tmp_path / "hinted.onnx")
    assert hinted.verify(found.path, inputs(8)).agreement == 1
    assert len([*hinted(inputs(2))]) == 2  # it returns what the model returns, nothing more


def test_a_compressed_network_learns_from_hints():
    half = tersor.compress(model(), inputs(2), macs=0.6, data=inputs(32))
    names = {source(node).name for node in half.network.nodes()}
    assert set(block_outputs(half.original, half.network)) <= names
    trained = tersor.train(half, batches(), options=short(features=1.0))
    assert trained.network(inputs(2)).shape == (2, 5)


def test_refusals():
    with pytest.raises(InvalidInputError, match="features=-1"):
        Training(features=-1.0)
    with pytest.raises(InvalidInputError, match=r"features.*a loss was given"):
        tersor.train(
            quantized(), labelled(), nn.functional.cross_entropy, options=short(features=1.0)
        )
