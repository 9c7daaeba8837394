"""A copied model shares memory with the original, and notices nothing of what happens to it."""

import numpy as np
import pytest
import torch
from torch import nn

from tersor.frontend.capture import capture
from tersor.frontend.model_copy import copied

WIDE = 256


class Tied(nn.Module):
    """Two linear layers with one weight, and a buffer that is a view of another one."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(WIDE, WIDE), nn.Linear(WIDE, WIDE)
        self.second.weight = self.first.weight
        self.register_buffer("whole", torch.zeros(2, WIDE, WIDE))
        self.register_buffer("part", self.whole[1])

    def forward(self, x):
        return self.second(self.first(x)) + self.part


def is_shared(one, other):
    return torch._C._is_cow_tensor(one) and torch._C._is_cow_tensor(other)


def test_large_weights_are_shared_until_one_of_them_changes():
    model = nn.Sequential(nn.Linear(WIDE, WIDE), nn.BatchNorm1d(WIDE))
    before = {name: x.clone() for name, x in model.state_dict().items()}
    copy = copied(model)
    assert is_shared(model[0].weight, copy[0].weight)
    assert copy[0].weight.requires_grad
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model(torch.randn(8, WIDE)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(model[0].weight, before["0.weight"])
    assert all(torch.equal(x, before[name]) for name, x in copy.state_dict().items())
    with torch.no_grad():
        copy[0].weight.zero_()
    assert model[0].weight.abs().sum() > 0


def test_what_was_one_tensor_stays_one():
    model = Tied()
    copy = copied(model)
    assert copy.first.weight is copy.second.weight
    copy.whole.fill_(1.0)
    assert bool((copy.part == 1).all())
    assert bool((model.whole == 0).all())


@pytest.mark.parametrize("shared", [True, False])
def test_memory_of_an_array_or_of_another_process_is_copied(shared):
    model = nn.Linear(WIDE, WIDE)
    array = np.zeros((WIDE, WIDE), np.float32)
    model.weight = nn.Parameter(torch.from_numpy(array))
    if shared:
        model.weight = nn.Parameter(torch.zeros(WIDE, WIDE).share_memory_())
    copy = copied(model)
    array[:] = 1
    with torch.no_grad():
        model.weight.fill_(2.0)
    assert bool((copy.weight == 0).all())


def test_a_network_keeps_the_weights_that_it_was_captured_with():
    model = nn.Sequential(nn.Linear(WIDE, WIDE), nn.ReLU()).eval()
    x = torch.randn(4, WIDE)
    network = capture(model, x)
    with torch.no_grad():
        wanted = model(x)
        model.load_state_dict({name: 0 * value for name, value in model.state_dict().items()})
        assert torch.equal(network(x), wanted)
        assert bool((model(x) == 0).all())
