"""Leaving channels out of networks whose ops look as if they commute with a scale."""

import pytest

from tests.channels.test_partition import ODD, network_of
from tests.compression.masks import check_pruning, random_keep


@pytest.mark.parametrize("name", ODD)
def test_odd_networks_compute_what_zeros_compute(name):
    forward, parts, _ = ODD[name]
    network = network_of(forward, **parts)
    check_pruning(network, random_keep(network, 0.3))
