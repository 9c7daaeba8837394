"""Each quantizer alone, against the network with all others switched off by hand."""

import pytest
import torch

from tersor.data.outputs.outputs import noise_to_signal
from tersor.frontend.capture import capture
from tersor.quant.noise.alone import only, quantizer_uses, sweep
from tersor.quant.noise.symptoms import may_saturate
from tersor.quant.placement.place import place, quantizers
from tersor.quant.ranges.calibrate import weight_ranges
from tersor.quant.ranges.observed import observed_ranges
from tersor.quant.schemes import ONNXRUNTIME_CPU, ONNXRUNTIME_VNNI
from tests.api.patients import healthy, images
from tests.captured import captured
from tests.zoo import ZOO


@pytest.fixture(params=["resnet", "shufflenet", "densenet"])
def ranged(request):
    """A network with ranges, and samples."""
    network = captured(request.param)
    place(network, ONNXRUNTIME_CPU)
    batches = [(ZOO[request.param].args(torch.float64, batch=4, seed=i), {}) for i in range(2)]
    weight_ranges(network, "rows")
    observed_ranges(network, batches)
    return network, batches


def test_each_is_measured_with_all_others_off(ranged):
    network, batches = ranged
    found = quantizer_uses(network)
    measured = sweep(network, batches, found)
    with only(network, ()):
        reference = [network(*args) for args, _ in batches]
    for index in range(0, len(found), 3):
        with only(network, [found[index].quantizer]):
            outputs = [network(*args) for args, _ in batches]
        want = noise_to_signal(outputs, reference)
        assert measured[index] == pytest.approx(want, rel=1e-9)
    assert max(measured) > 0
    assert all(quantizer.enabled for _, quantizer in quantizers(network))


def test_pairs_that_overflow_are_found_where_the_weights_have_their_full_range():
    for scheme, expected in ((ONNXRUNTIME_CPU, []), (ONNXRUNTIME_VNNI, ["0", "2", "5"])):
        network = capture(healthy(), images(2))
        place(network, scheme)
        weight_ranges(network, scheme.pair_safe)
        assert may_saturate(network) == expected


def test_narrow_weights_never_overflow():
    network = capture(healthy(), images(2))
    place(network, ONNXRUNTIME_VNNI.with_bits(6, None))
    weight_ranges(network)
    assert may_saturate(network) == []
