"""What one layer's width does to the outputs, against that layer rounded by the usual walk."""

import math

import pytest
import torch
from torch import nn

from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.quant.fast_rounding import Rounding
from tersor.quant.placement.place import place, quantizers, weight_quantizer
from tersor.quant.ranges.calibrate import weight_ranges
from tersor.quant.rounding.layerwise import Setting
from tersor.quant.schemes import ONNXRUNTIME_CPU, TENSORRT
from tersor.quant.sensitivity import WidthTrial, sensitivities
from tests.captured import captured, outputs
from tests.zoo import ZOO

HELD_BACK = 2


def placed(name, scheme=ONNXRUNTIME_CPU):
    network = captured(name)
    place(network, scheme)
    return network


def samples(name, batches=6):
    case = ZOO[name]
    return [(case.args(torch.float64, batch=8, seed=i), {}) for i in range(batches)]


def alone(name, index, bits):
    """A network with one layer rounded and everything else in floating point."""
    network = placed(name, ONNXRUNTIME_CPU.with_bits(bits, None))
    weight_ranges(network, "rows")
    chosen = weight_quantizer(list(layers(network))[index])
    for _, quantizer in quantizers(network):
        quantizer.enabled = quantizer is chosen
    Rounding().round(network, samples(name), Setting(held_back=HELD_BACK, pair_safe="rows"))
    return network


def damage(network, floating, batches):
    """‖y − ŷ‖² / ‖y‖² over all batches, averaged over the outputs."""
    wants = [outputs(floating, *args) for args, _ in batches]
    gots = [outputs(network, *args) for args, _ in batches]
    ratios = []
    for want, got in zip(zip(*wants, strict=True), zip(*gots, strict=True), strict=True):
        y, x = torch.cat(want), torch.cat(got)
        ratios.append(float((y - x).square().sum() / y.square().sum()))
    return sum(ratios) / len(ratios)


@pytest.mark.parametrize("name", ["vgg", "grouped", "separable", "resnet", "shufflenet"])
def test_a_layer_is_rounded_alone_and_judged_on_what_was_held_back(name):
    batches, trial = samples(name), WidthTrial((2, 8), pair_safe="rows")
    found = sensitivities(placed(name), batches, trial, HELD_BACK)
    names = [layer.name for layer in layers(captured(name))]
    assert [s.layer for s in found] == names
    for index in {0, len(names) // 2, len(names) - 1}:
        for bits in trial.choices:
            want = damage(alone(name, index, bits), captured(name), batches[-HELD_BACK:])
            assert found[index].damage[bits] == pytest.approx(want, rel=1e-6)


def test_more_bits_do_less_damage():
    for layer in sensitivities(placed("vgg"), samples("vgg"), WidthTrial((2, 4, 6, 8))):
        assert list(layer.damage.values()) == sorted(layer.damage.values(), reverse=True)


def test_the_same_twice_and_the_network_is_as_it_was():
    network, batches = placed("shufflenet"), samples("shufflenet")
    want = outputs(captured("shufflenet"), *batches[0][0])
    first = sensitivities(network, batches, WidthTrial((3,)), HELD_BACK)
    for _, quantizer in quantizers(network):
        quantizer.enabled = False
    assert all(map(torch.equal, outputs(network, *batches[0][0]), want))
    assert sensitivities(placed("shufflenet"), batches, WidthTrial((3,)), HELD_BACK) == first


def test_transposed_layers_and_layers_without_bias():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ConvTranspose2d(4, 2, 3, bias=False))
    batches = [((torch.randn(4, 3, 8, 8),), {}) for _ in range(2)]
    network = capture(net.eval(), batches[0][0])
    place(network, TENSORRT)
    found = sensitivities(network, batches, WidthTrial((2, 8)))
    assert [s.layer for s in found] == ["0", "1"]
    assert all(0 < s.damage[8] < 0.01 < s.damage[2] < 1 for s in found)


def test_a_shared_weight_is_one_layer_and_acts_wherever_it_is_read():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(6, 6)

        def forward(self, x):
            return self.body(x.relu()), self.body(x + 1)

    batches = [((torch.randn(4, 6),), {}) for _ in range(3)]
    network = capture(Twice().eval(), batches[0][0])
    place(network, ONNXRUNTIME_CPU)
    seen = []

    def metric(found, reference):
        seen.append([not torch.equal(x, y) for x, y in zip(found, reference, strict=True)])
        return 0.0

    assert len(sensitivities(network, batches, WidthTrial((2,), metric=metric))) == 1
    assert seen == [[True, True]] * 3


class Dict(nn.Module):
    """Returns a mapping with a number in it."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return {"logits": self.head(x), "scale": 2}


def test_a_metric_gets_what_the_model_returns_batch_by_batch():
    batches = [((torch.randn(4, 6),), {}) for _ in range(3)]
    model = Dict().eval()
    network = capture(model, batches[0][0])
    place(network, ONNXRUNTIME_CPU)
    seen = []

    def metric(found, reference):
        seen.append((set(found), reference["logits"]))
        return float(len(seen))

    (layer,) = sensitivities(network, batches, WidthTrial((4, 8), metric=metric), held_back=2)
    assert layer.damage == {4: 1.5, 8: 3.5}  # the mean of two batches
    assert all(keys == {"logits", "scale"} for keys, _ in seen)
    with torch.no_grad():
        assert torch.allclose(seen[0][1], model(*batches[1][0])["logits"])


def test_a_metric_that_is_no_number():
    with pytest.raises(InvalidInputError, match="NaN with 4-bit weights in '"):
        sensitivities(placed("vgg"), samples("vgg"), WidthTrial((4,), metric=lambda y, x: math.nan))


def test_classes_have_no_noise():
    class Classes(nn.Linear):
        def forward(self, x):
            return super().forward(x).argmax(1)

    batches = [((torch.randn(4, 6),), {})]
    network = capture(Classes(6, 3).eval(), batches[0][0])
    place(network, ONNXRUNTIME_CPU)
    with pytest.raises(InvalidInputError, match=r"nothing in floating point.*give a metric"):
        sensitivities(network.copy(), batches, WidthTrial((4,)))
    metric = lambda y, x: float((y != x).double().mean())  # noqa: E731
    (layer,) = sensitivities(network, batches, WidthTrial((4,), metric=metric))
    assert 0 <= layer.damage[4] <= 1


def test_progress():
    seen = []
    found = sensitivities(
        placed("vgg"), samples("vgg"), WidthTrial((4,)), on_layer=lambda *told: seen.append(told)
    )
    assert [number for number, _, _ in seen] == list(range(1, len(found) + 1))
    assert {total for _, total, _ in seen} == {len(found)}
    assert [r.numbers for _, _, r in seen] == [{"4 bits": s.damage[4]} for s in found]
