"""Batches that are run together give what the network returns for each of them."""

import torch

import tersor
from tersor.quant.simulated import simulated
from tests.far_ranges import pictures, ranges


def test_every_batch_is_what_the_network_returns():
    network = tersor.quantize(ranges(), data=pictures(8), tolerance=None).network
    batches = [((pictures(2, seed),), {}) for seed in range(3)]
    found = [x for x in simulated(network, batches) if isinstance(x, torch.Tensor)]
    with torch.no_grad():
        wanted = [network(*args) for args, _ in batches]
    assert all(torch.equal(x, y) for x, y in zip(found, wanted, strict=True))
    assert not torch.equal(wanted[0], wanted[1])
