"""The graph of `quantized_decomposed` ops computes what the simulation computes."""

import pytest
import torch
from torch import nn

import tersor
from tersor.errors import UnsupportedError
from tersor.export.executorch.forms import fit
from tersor.export.pytorch.decomposed import DEQUANTIZE, QUANTIZE, decomposed
from tests.export.executorch.models import SCHEME, Forms, forms, samples

aten = torch.ops.aten


@pytest.mark.parametrize("scheme", ["onnxruntime-cpu", "openvino-cpu", "tensorrt", SCHEME])
def test_it_computes_what_the_simulation_computes(scheme):
    q, x = tersor.quantize(Forms().eval(), data=samples(), scheme=scheme), samples(4)
    with torch.no_grad():
        torch.testing.assert_close(decomposed(q.network)(x), q(x), rtol=0, atol=0)


def test_the_forms_for_xnnpack_compute_the_same():
    network, x = decomposed(forms().network), samples(4)
    with torch.no_grad():
        before = network(x)
        fit(network)
        torch.testing.assert_close(network(x), before, rtol=0, atol=0)


def test_what_xnnpack_would_not_take_is_rewritten():
    network = decomposed(forms().network)
    fit(network)
    called = [node.target for node in network.graph.nodes]
    assert called.count(aten.conv2d.default) == 3 + 2  # one for each axis of the strided slice
    for refused in (aten.clamp.default, aten.slice.Tensor, aten.dropout.default):
        assert refused not in called
    (mean,) = [node for node in network.graph.nodes if node.target is aten.mean.dim]
    assert mean.meta["val"].ndim == 2
    assert mean.args[2] is True


def test_parts_of_a_concatenation_share_a_grid():
    network = decomposed(forms().network)
    fit(network)
    (joined,) = [node for node in network.graph.nodes if node.target is aten.cat.default]
    (result,) = joined.users
    assert result.target is QUANTIZE
    assert {part.args[1:] for part in joined.args[0]} == {result.args[1:]}


def test_every_reader_dequantizes_for_itself():
    network = decomposed(forms().network)
    fit(network)
    found = [node for node in network.graph.nodes if node.target is DEQUANTIZE]
    assert found
    assert all(len(node.users) == 1 for node in found)


class Detector(nn.Module):
    """A softmax between two permutations, and a pad that a call in float reads."""

    def __init__(self):
        super().__init__()
        self.stem, self.classes = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 5, 1)

    def forward(self, x):
        x = nn.functional.avg_pool2d(nn.functional.pad(self.stem(x).relu(), (1, 1, 1, 1)), 3, 2)
        return self.classes(x).permute(0, 3, 2, 1).softmax(-1).permute(0, 3, 2, 1)


def detector():
    torch.manual_seed(0)
    return tersor.quantize(Detector().eval(), data=samples(), scheme=SCHEME)


def test_a_softmax_between_permutations_is_taken_first():
    q, x = detector(), samples(4)
    network = decomposed(q.network)
    fit(network)
    (softmax,) = [node for node in network.graph.nodes if node.target is aten.softmax.int]
    assert softmax.args[1] == 1
    with torch.no_grad():
        torch.testing.assert_close(network(x), q(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scheme": "onnxruntime-cpu"}, "'executorch-xnnpack'"),
        ({"activations": 16}, "'executorch-xnnpack'"),
        ({"activations": 4}, "fewer than 8 bits"),
        ({"weights": 16}, "8 bits or fewer"),
    ],
    ids=str,
)
def test_other_integers_are_refused(options, words):
    q = tersor.quantize(Forms().eval(), data=samples(), **{"scheme": SCHEME, **options})
    with pytest.raises(UnsupportedError, match=words):
        decomposed(q.network, (torch.int8,))
