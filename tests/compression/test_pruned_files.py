"""Pruned networks are networks like others: they are exported, and quantized."""

import numpy as np
import onnxruntime as ort
import pytest

import tersor
from tersor.compression.prune import prune_groups
from tersor.core.metrics import sqnr
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture
from tersor.graph.simplify import fold
from tests.captured import outputs
from tests.compression.masks import random_keep
from tests.zoo import ZOO


@pytest.mark.parametrize("name", ["resnet", "shufflenet", "efficientnet"])
def test_the_file_computes_the_same(name, tmp_path):
    case = ZOO[name]
    network = capture(case.make(), case.args())
    fold(network)
    prune_groups(network, random_keep(network))
    path = export_onnx(network, tmp_path / "pruned.onnx").path
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (x,) = case.args(batch=5, seed=3)
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert np.allclose(got, outputs(network, x)[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["resnet", "shufflenet"])
def test_a_pruned_network_is_quantized(name, tmp_path):
    case = ZOO[name]
    network = capture(case.make(), case.args())
    fold(network)
    prune_groups(network, random_keep(network))
    (x,) = case.args(batch=32, seed=3)
    for data in (None, x):
        quantized = tersor.quantize(network, data=data)
        assert sqnr(outputs(network, x)[0], outputs(quantized, x)[0]) > 15
    quantized.export(tmp_path / "int8.onnx")
