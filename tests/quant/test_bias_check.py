"""Corrected biases stay only where the outputs are closer to float for them."""

import pytest
import torch
from torch import nn

import tersor
from tersor.api.frame import Frame
from tersor.api.steps import place_with_data
from tersor.core.metrics import decibels, signal_and_noise
from tersor.frontend.capture import capture
from tersor.quant.in_float.bias_check import correct_nearest
from tersor.quant.noise.alone import only, quantizer_uses
from tersor.quant.schemes import ONNXRUNTIME_CPU
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


def test_biases_make_up_for_the_nearest_integers_of_their_own_weights():
    network, x = capture(nn.Conv2d(3, 4, 1).eval(), torch.rand(2, 3, 4, 4)), torch.rand(16, 3, 4, 4)
    placed = place_with_data(network, Frame(ONNXRUNTIME_CPU), [((x,), {})], tersor.WithData())
    correct_nearest(placed.network, placed.prepared, [((x,), {})])
    weights = [u.quantizer for u in quantizer_uses(placed.network) if u.side == "weights"]
    with torch.no_grad(), only(placed.network, weights):
        apart = (placed.network(x) - placed.prepared(x)).mean((0, 2, 3))
    assert float(apart.abs().max()) < 1e-6
