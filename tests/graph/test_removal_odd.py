"""Leaving channels out of networks whose ops look as if they commute with a scale."""

import pytest

from tests.compress.masks import check_pruning, random_keep
from tests.graph.test_channels import ODD, network_of


@pytest.mark.parametrize("name", ODD)
def test_odd_networks_compute_what_zeros_compute(name):
    forward, parts, _ = ODD[name]
    network = network_of(forward, **parts)
    check_pruning(network, random_keep(network, 0.3))
