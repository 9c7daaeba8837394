"""Inputs to verify on if the user gave none."""

import pytest
import torch
from torch import nn

import tersor
from tersor.core.neighbours import neighbour_correlation
from tersor.data.invented.plausible import Assumed, picture_noise, plausible, worst_plausible
from tersor.data.pictures import photographs as shipped
from tersor.frontend.capture import capture


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()


NETWORK = capture(model(), torch.randn(2, 3, 20, 24))
GUESSED = Assumed({"input_1": (-4.0, 4.0)}, frozenset({"input_1"}))


@pytest.mark.parametrize("with_photographs", [True, False])
def test_pictures_are_smooth_and_lie_in_the_range_that_is_known(with_photographs, monkeypatch):
    if not with_photographs:
        monkeypatch.setattr(shipped, "NAMES", ())
    (found,) = plausible(NETWORK, Assumed({"input_1": (-1.0, 3.0)}))
    assert ("noise" in found.words) is not with_photographs
    x = torch.cat([args[0] for args, _ in found.batches])
    assert x.shape == (4, 3, 20, 24)
    assert x.min() >= -1
    assert x.max() <= 3
    assert x.max() - x.min() > 2
    assert neighbour_correlation(x) > 0.4


def test_a_guessed_range_gives_every_usual_one():
    found = list(plausible(NETWORK, GUESSED))
    ends = [float(kind.inputs[0][0].max()) for kind in found]
    assert [kind.words.rpartition(" as ")[2] for kind in found] == [
        "pixels in 0…1",
        "pixels in 0…1, normalized with ImageNet's mean and std",
        "pixels in −1…1",
        "pixels in 0…255",
    ]
    assert ends[0] <= 1 < ends[1] < 3
    assert 100 < ends[3] <= 255


def test_the_worst_counts():
    """Values beyond 4 are cut off, so pixels in 0…255 are worst for a range of −4…4."""
    q = tersor.quantize(NETWORK)
    assert q.assumed.guessed == {"input_1"}
    assert "0…255" in worst_plausible(q.network, q.original, q.assumed).words
    assert "0…255" in q.own_inputs().words
    told = tersor.quantize(NETWORK, input_range=(0, 1))
    assert told.own_inputs().words == "photographs"


def test_inputs_that_are_no_pictures_are_not_those_that_ranges_came_from():
    network = capture(nn.Linear(4, 3).eval(), torch.randn(2, 4))
    (found,) = plausible(network, Assumed({"input_1": (-4.0, 4.0)}))
    assert found.inputs[0][0].shape == (2, 4)
    assert not torch.equal(found.inputs[0][0], network.args[0])


def test_with_data_the_example_is_verified_on():
    q = tersor.quantize(NETWORK, data=torch.rand(8, 3, 20, 24))
    assert q.assumed is None
    assert torch.equal(q.own_inputs().inputs[0][0], q.original.args[0])


def test_a_verification_says_what_it_was_made_on_and_what_is_doubtful(tmp_path):
    q = tersor.quantize(NETWORK)
    checked = q.verify(q.export(tmp_path / "q.onnx").path, latency=False)
    assert "as pixels in 0…255" in dict(checked.rows())["samples"]
    assert "is a guess" in checked.doubts[0]
    assert not checked.on_samples
    assert checked.verdict.grade != "good"
    given = q.verify(tmp_path / "q.onnx", 60 * torch.rand(4, 3, 20, 24), latency=False)
    assert given.inputs == ""
    (doubt,) = given.doubts
    assert "lie outside" in doubt


def test_a_verification_on_own_inputs_says_that_most_ranges_are_guesses(tmp_path):
    q = tersor.quantize(NETWORK, input_range=(0.0, 1.0))
    path = q.export(tmp_path / "q.onnx").path
    (doubt,) = q.verify(path, latency=False).doubts
    assert "2 of 3 ranges are guessed" in doubt
    assert q.verify(path, torch.rand(4, 3, 20, 24), latency=False).doubts == ()


def test_noise_has_the_spectrum_of_photographs():
    x = picture_noise((40, 3, 64, 64), torch.Generator().manual_seed(0))
    power = torch.fft.rfft2(x).abs().square().mean((0, 1))
    frequency = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64).expand(64, -1))
    low, high = (power[(frequency * 64 - f).abs() < 0.5].mean() for f in (4, 16))
    # Amplitude 1/f: four times the frequency, 16 times less power.
    assert low / high == pytest.approx(16, rel=0.2)
