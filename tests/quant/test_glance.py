"""A few positions tell whether a wide layer of 8 bits is worth a search."""

import pytest
import torch
from torch import nn

from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.network import Applied, Skipped
from tersor.quant.fast_rounding import Rounding, round_layer
from tersor.quant.placement.place import place, weight_quantizer
from tersor.quant.ranges.calibrate import weight_ranges
from tersor.quant.rounding.layer_task import LayerTask
from tersor.quant.schemes import ONNXRUNTIME_CPU


@pytest.mark.parametrize(
    ("noise", "bits", "kind"), [(0.0, 8, Applied), (1.0, 8, Skipped), (1.0, 4, Applied)]
)
def test_it_is_searched_where_rounding_its_weights_matters(noise, bits, kind, monkeypatch):
    torch.manual_seed(0)
    x = torch.randn(16, 16, 8, 8)
    network = capture(nn.Sequential(nn.Conv2d(16, 8, 3)).eval(), x[:2])
    place(network, ONNXRUNTIME_CPU.with_bits(bits, 8))
    weight_ranges(network)
    (layer,) = layers(network)
    quantizer = weight_quantizer(layer)
    assert quantizer is not None
    with torch.no_grad():
        y = layer.run(x, layer.weight)
    measured, moments = [], LayerTask.moments

    def counted(task, batches, positions):
        measured.append(positions)
        return moments(task, batches, positions)

    monkeypatch.setattr(LayerTask, "moments", counted)
    wanted = y + noise * torch.randn_like(y) + 3.0
    task = LayerTask(layer, quantizer, [x], [wanted], None, 0, 0)
    options = Rounding()
    record = round_layer(task, options)
    assert isinstance(record, kind)
    assert (options.glance in measured) == (bits == 8)
    assert max(measured) == options.glance or kind is Applied
    with torch.no_grad():
        left = layer.run(x, layer.weight) - y
    assert float(left.mean()) == pytest.approx(3.0, abs=0.1)  # the bias is corrected either way
