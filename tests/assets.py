"""Tests that need pretrained networks and their data, which are not part of the repository."""

import os

import pytest

needs_assets = pytest.mark.skipif(
    "TERSOR_ASSETS" not in os.environ, reason="TERSOR_ASSETS names no folder of pretrained networks"
)
