"""Few samples run in all models where a sample takes long."""

import pytest
import torch
from torch import nn

from tersor.export.proof import closely as module
from tersor.export.proof.closely import MOST, closely
from tersor.frontend.capture import capture

EACH = 8 * 27 * 16 * 16


@pytest.mark.parametrize(("work", "samples"), [(10**11, MOST), (10 * EACH + 1, 10), (EACH - 1, 1)])
def test_as_many_as_take_a_bounded_time(work, samples, monkeypatch):
    monkeypatch.setattr(module, "_WORK", work)
    network = capture(nn.Conv2d(3, 8, 3).eval(), torch.zeros(2, 3, 18, 18))
    assert closely(network) == samples


def test_without_a_network_its_work_is_not_known():
    assert closely(None) == MOST
