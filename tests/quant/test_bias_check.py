"""Corrected biases stay only where the outputs are closer to float for them."""

import pytest
import torch
from torch import nn

import tersor
from tersor.core.metrics import decibels, signal_and_noise
from tests import nets

_CHANNELS = 64
_BACKGROUND = 51.45 / 255  # always rounded down, by nearly half a step


class Detector(nn.Module):
    """A score for each place: close to 0 on the background, and not so at the few other places."""

    def __init__(self):
        super().__init__()
        self.score = nn.Conv2d(_CHANNELS, 1, 1)
        with torch.no_grad():
            self.score.weight.fill_(50 / _CHANNELS)
            nn.init.constant_(self.score.bias, -25.0)  # type: ignore[arg-type]

    def forward(self, x):
        return self.score(x).sigmoid()


def pictures(seed, count=8):
    """Flat but for three places; all values from 0 to 1 occur."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.full((count, _CHANNELS, 12, 12), _BACKGROUND)
    x[:, :, 3, 2:5] = torch.rand(count, _CHANNELS, 3, generator=generator)
    x[:, 0, 3, 2], x[:, 1, 3, 2] = 0, 1
    return x


def held_back_sqnr():
    model, x = Detector().eval(), pictures(0)
    options = tersor.WithData(rounding=None)
    q = tersor.quantize(model, x[:2], data=x, options=options, tolerance=None)
    new = pictures(1)
    with torch.no_grad():
        return decibels(*signal_and_noise(model(new), q(new))), q.records


def test_a_flat_background_does_not_move_the_scores_of_the_rest(monkeypatch):
    checked, records = held_back_sqnr()
    monkeypatch.setattr("tersor.api.steps.keep_better_biases", lambda *_: None)
    unchecked, _ = held_back_sqnr()
    assert checked > unchecked + 6
    assert "biases" in {record.layer for record in records}


@pytest.mark.parametrize("weights", [3, 8])
def test_elsewhere_the_mean_of_every_layer_is_corrected(weights, monkeypatch):
    network, example = nets.with_example()
    data, options = nets.images(32), tersor.WithData(rounding=None)

    def quantized():
        return tersor.quantize(
            network, example, data=data, weights=weights, options=options, tolerance=None
        )

    checked = quantized()
    monkeypatch.setattr("tersor.api.steps.keep_better_biases", lambda *_: None)
    assert "biases" not in {record.layer for record in checked.records}
    with torch.no_grad():
        assert torch.equal(checked(example), quantized()(example))
