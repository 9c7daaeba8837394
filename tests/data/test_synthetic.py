"""Random inputs shaped like the example inputs."""

import pytest
import torch
from torch import nn

from tersor.data.invented.synthetic import (
    Synthetic,
    example_inputs,
    synthetic_batches,
    vocabularies,
)
from tersor.data.walk.observe import Extremes, observe
from tersor.frontend.capture import capture


class Net(nn.Module):
    """A map, token numbers, and a mask as keyword."""

    def forward(self, x, ids, *, mask):
        return torch.where(mask, x, 0.0) * ids[:, :, None]


@pytest.fixture
def network():
    x = torch.randn(4, 5, 64, generator=torch.manual_seed(0)) * 3 + 2
    ids = torch.arange(20).reshape(4, 5) + 7
    return capture(Net(), (x, ids), {"mask": ids[:, :, None] > 10})


def test_inputs_have_the_moments_of_the_example(network):
    batches = list(synthetic_batches(network, Synthetic(batches=50)))
    assert len(batches) == 50
    x = torch.stack([args[0] for args, _ in batches])
    assert x.mean().item() == pytest.approx(network.args[0].mean().item(), abs=0.1)
    assert x.std().item() == pytest.approx(network.args[0].std().item(), abs=0.1)
    ids = torch.stack([args[1] for args, _ in batches])
    assert ids.dtype == torch.int64
    assert (ids.min().item(), ids.max().item()) == (7, 26)
    assert ids.float().mean().item() == pytest.approx(16.5, abs=1)
    assert all(torch.equal(kwargs["mask"], network.kwargs["mask"]) for _, kwargs in batches)
    assert not torch.equal(batches[0][0][0], batches[1][0][0])


def test_inputs_stay_in_their_range_and_repeat_with_their_seed(network):
    assert list(example_inputs(network)) == ["x", "ids", "mask"]
    (args, _), *_ = synthetic_batches(network, Synthetic(), {"x": (0.0, 1.0)})
    assert (args[0].min().item(), args[0].max().item()) == (0.0, 1.0)
    first, second, other = (
        next(synthetic_batches(network, Synthetic(seed=seed)))[0][0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_an_example_of_one_value_gets_unit_variance():
    network = capture(nn.ReLU(), torch.full((2, 5000), 3.0))
    (x,), _ = next(synthetic_batches(network, Synthetic()))
    assert x.mean().item() == pytest.approx(3, abs=0.05)
    assert x.std().item() == pytest.approx(1, abs=0.05)


def test_streams_see_every_batch_in_the_order_of_the_inputs(network):
    (result,) = [n for n in network.graph.nodes if "mul" in n.name]
    per_tensor, per_channel = Extremes(), Extremes(1)
    outputs = []
    for args, kwargs in (batches := list(synthetic_batches(network, Synthetic(batches=3)))):
        outputs.append(network(*args, **kwargs))
    observe(network, batches, {result: per_tensor})
    observe(network, batches, {result: per_channel})
    want = torch.stack(outputs)
    assert torch.equal(per_tensor.low, want.amin())
    assert torch.equal(per_tensor.high, want.amax())
    assert torch.equal(per_channel.high, want.amax((0, 1, 3)))


class Picture(nn.Module):
    """A network on pictures."""

    def forward(self, x):
        return x.relu()


def test_pictures_are_about_as_bright_as_the_example():
    network = capture(Picture(), torch.rand(2, 3, 64, 64))
    batches = list(synthetic_batches(network, Synthetic(batches=20)))
    x = torch.cat([args[0] for args, _ in batches])
    assert x.mean().item() == pytest.approx(network.args[0].mean().item(), abs=0.05)


def test_an_example_outside_of_its_range_tells_only_the_shape():
    network = capture(Picture(), torch.randn(2, 3, 32, 32))
    batches = list(synthetic_batches(network, Synthetic(), {"x": (0.0, 1.0)}))
    x = torch.cat([args[0] for args, _ in batches])
    assert x.mean().item() == pytest.approx(0.5, abs=0.05)


class Sentence(nn.Module):
    """Token numbers that an embedding looks up, and an integer mask."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(1000, 4)

    def forward(self, tokens, mask):
        return self.words(tokens) * mask[:, :, None]


def test_tokens_cover_the_vocabulary_and_masks_stay_valid():
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    network = capture(Sentence(), (torch.tensor([[5, 6, 7, 8], [6, 5, 0, 0]]), mask))
    assert vocabularies(network) == {"tokens": 1000}
    batches = list(synthetic_batches(network, Synthetic(batches=500)))
    tokens = torch.stack([args[0] for args, _ in batches])
    assert tokens.dtype == torch.int64
    assert 0 <= tokens.min() < 10
    assert 990 <= tokens.max() < 1000
    assert all(torch.equal(args[1], mask) for args, _ in batches)
