"""Lowering keeps what the simulation computes, value for value."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils import _pytree as pytree

from tersor.core.grid import Grid
from tersor.errors import ExportError, UnsupportedError
from tersor.export.onnx.lower import lower
from tersor.frontend.capture import capture
from tersor.graph.mode import set_training
from tersor.quant.placement.place import place
from tersor.quant.placement.quantizer import FakeQuantize
from tersor.quant.ranges.calibrate import weight_ranges
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tests.export.models import INT8, quantize_by_hand, small
from tests.zoo import ZOO

aten = torch.ops.aten


CLIPS = {
    "none": lambda x: x + 0.0,
    "relu": torch.relu,
    "relu6": nn.functional.relu6,
    "hardtanh": lambda x: nn.functional.hardtanh(x, -0.7, 1.3),
    "clamp": lambda x: x.clamp(-1.1, 0.9),
    "clamp_min": lambda x: x.clamp(min=-0.4),
}


def same(network, lowered, *args, **kwargs):
    """Every output is equal, except where a float kernel may sum in another order."""
    with torch.no_grad():
        pairs = zip(
            pytree.tree_leaves(network(*args, **kwargs)),
            pytree.tree_leaves(lowered(*args, **kwargs)),
            strict=True,
        )
    for wanted, given_ in pairs:
        torch.testing.assert_close(given_, wanted, rtol=0, atol=0)


def integers(lowered):
    return {name: lowered.network.module.get_parameter(name) for name in lowered.grids}


@pytest.mark.parametrize("case", ZOO.values(), ids=ZOO.keys())
def test_lowered_zoo_computes_the_simulation(case):
    network = quantize_by_hand(capture(case.make(), case.args(), case.kwargs()))
    lowered = lower(network).network
    assert not [node for node in lowered.nodes() if node.op == "call_module"]
    same(network, lowered, *case.args(batch=3, seed=5), **case.kwargs(batch=3, seed=5))


@settings(max_examples=25)
@given(
    bits=st.integers(2, 16),
    signed=st.booleans(),
    low=st.floats(-3, 0, width=32),
    high=st.floats(0.5, 3, width=32),
    clip=st.sampled_from(sorted(CLIPS)),
)
def test_activation_grids_and_clips(bits, signed, low, high, clip):
    """Narrow grids and absorbed clips are exact, far outside the range too."""
    network = capture(_Clip(clip), torch.randn(2, 64))
    quantizer = FakeQuantize(Grid(bits, signed))
    quantizer.set_range(torch.tensor(low), torch.tensor(high))
    output = network.graph.output_node().args[0][0]
    network.module.add_submodule("quantizer", quantizer)
    with network.graph.inserting_after(output):
        edge = network.graph.call_module("quantizer", (output,))
    output.replace_all_uses_with(edge, delete_user_cb=lambda user: user is not edge)
    network.finish()
    x = torch.cat([torch.linspace(-10, 10, 4001), torch.tensor([float("inf"), -float("inf")])])
    lowered = lower(network).network
    same(network, lowered, x.expand(2, -1))
    if bits in (8, 16):
        assert not any(node.target is aten.relu.default for node in lowered.nodes())


class _Clip(nn.Module):
    def __init__(self, clip):
        super().__init__()
        self.clip = CLIPS[clip]

    def forward(self, x):
        return self.clip(x)


def test_a_clip_with_another_reader_stays():
    class Fork(nn.Module):
        def forward(self, x):
            y = x.relu()
            return y, y.sum(1)

    network = capture(Fork(), torch.randn(2, 8))
    relu = next(node for node in network.nodes() if node.target is aten.relu.default)
    quantizer = FakeQuantize(Grid(8))
    quantizer.set_range(torch.tensor(-1.0), torch.tensor(1.0))
    network.module.add_submodule("quantizer", quantizer)
    with network.graph.inserting_after(relu):
        edge = network.graph.call_module("quantizer", (relu,))
    network.graph.output_node().replace_input_with(relu, edge)
    network.finish()
    same(network, lower(network).network, torch.randn(4, 8))


def test_weights_are_rounded_integers_under_their_own_names():
    network = quantize_by_hand(small())
    stored = integers(lower(network))
    assert set(stored) == {
        f"{n}.{k}" for n in ("conv1", "conv2", "head") for k in ("weight", "bias")
    }
    for name in ("conv1", "conv2", "head"):
        weight = network.module.get_parameter(f"{name}.weight").detach()
        scale = weight.flatten(1).abs().amax(1) / 127
        wanted = torch.round(weight / scale.view(-1, *[1] * (weight.ndim - 1)))
        assert stored[f"{name}.weight"].dtype == torch.int8
        assert (stored[f"{name}.weight"].float() - wanted).abs().max() <= 1
        assert stored[f"{name}.bias"].dtype == torch.int32


@pytest.mark.parametrize(
    ("grid", "dtype"),
    [
        (Grid(4, signed=True, symmetric=True), torch.int8),
        (Grid(7, signed=True, symmetric=True), torch.int8),
        (Grid(8), torch.uint8),
        (Grid(10), torch.uint16),
        (Grid(16, signed=True, symmetric=True), torch.int16),
        (Grid(24, signed=True, symmetric=True), torch.int32),
    ],
)
def test_weight_grids(grid, dtype):
    network = quantize_by_hand(small(), weight=grid)
    lowered = lower(network)
    weight = integers(lowered)["conv1.weight"]
    assert weight.dtype == dtype
    assert weight.long().min() >= grid.qmin
    assert weight.long().max() <= grid.qmax
    same(network, lowered.network, torch.randn(2, 3, 8, 8))


def test_a_weight_that_two_calls_read_is_stored_once():
    case = ZOO["tied_linears"]
    network = quantize_by_hand(capture(case.make(), case.args()))
    lowered = lower(network)
    values = [tensor for name, tensor in integers(lowered).items() if "weight" in name]
    assert len({tuple(v.flatten().tolist()) for v in values}) == len(values)


def test_a_tied_embedding_stays_float_beside_the_integers():
    case = ZOO["tied_embedding"]
    network = quantize_by_hand(capture(case.make(), case.args()))
    lowered = lower(network)
    same(network, lowered.network, *case.args(seed=3))


def test_only_the_rows_that_are_looked_up_become_floats():
    model = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 3))
    network = capture(model, torch.randint(50, (2, 5)))
    place(network, ONNXRUNTIME_CPU)
    weight_ranges(network)
    lowered = lower(network)
    (lookup,) = lowered.network.graph.find_nodes(op="call_function", target=aten.embedding.default)
    assert lowered.network.tensor(lookup.args[0]).dtype == torch.int8
    same(network, lowered.network, torch.randint(50, (3, 5)))
    same(network, lowered.network, torch.randint(50, (3, 9)))


def test_a_computed_weight_is_stored_as_integers():
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.raw = nn.Parameter(torch.randn(4, 6))

        def forward(self, x):
            return nn.functional.linear(x, (self.raw * 2).tanh())

    network = capture(Doubled(), torch.randn(2, 6))
    weight = next(node for node in network.nodes() if node.target is aten.tanh.default)
    quantizer = FakeQuantize(INT8)
    quantizer.set_range(torch.tensor(-1.0), torch.tensor(1.0))
    network.module.add_submodule("quantizer", quantizer)
    with network.graph.inserting_after(weight):
        edge = network.graph.call_module("quantizer", (weight,))
    weight.replace_all_uses_with(edge, delete_user_cb=lambda user: user is not edge)
    network.finish()
    lowered = lower(network)
    assert [tensor.dtype for tensor in integers(lowered).values()] == [torch.int8]
    assert not any(node.target is aten.tanh.default for node in lowered.network.nodes())
    same(network, lowered.network, torch.randn(3, 6))


def test_a_switched_off_quantizer_vanishes():
    network = quantize_by_hand(small())
    for module in network.module.modules():
        if isinstance(module, FakeQuantize) and module.axis is None:
            module.enabled = False
    lowered = lower(network).network
    assert "quantize_linear" not in {
        str(n.target).split(".")[1] for n in lowered.nodes() if "." in str(n.target)
    }
    same(network, lowered, torch.randn(2, 3, 8, 8))


def test_training_mode_does_not_reach_the_file():
    case = ZOO["resnet"]
    network = quantize_by_hand(capture(case.make(), case.args()))
    wanted = network(*case.args(seed=2))
    set_training(network, True)
    torch.testing.assert_close(lower(network).network(*case.args(seed=2)), wanted, rtol=0, atol=0)


def test_the_network_is_not_changed():
    network = quantize_by_hand(small())
    code, state = str(network.graph), {k: v.clone() for k, v in network.module.state_dict().items()}
    lower(network)
    assert str(network.graph) == code
    assert all(torch.equal(v, state[k]) for k, v in network.module.state_dict().items())


def test_an_activation_wider_than_16_bits_is_refused():
    with pytest.raises(UnsupportedError, match=r"'quantizers_.*20 bits.*at most 16"):
        lower(quantize_by_hand(small(), activation=Grid(20)))


def test_an_unsigned_weight_wider_than_16_bits_is_refused():
    with pytest.raises(UnsupportedError, match="unsigned grid of 20 bits"):
        lower(quantize_by_hand(small(), weight=Grid(20)))


def test_double_precision_is_refused():
    network = quantize_by_hand(small())
    network.module.double()
    with pytest.raises(UnsupportedError, match=r"float64.*model\.float\(\)"):
        lower(network)


def test_a_foreign_module_is_refused():
    network = quantize_by_hand(small())
    network.module.add_submodule("other", nn.ReLU())
    node = next(node for node in network.nodes() if node.op == "call_module")
    node.target = "other"
    with pytest.raises(ExportError, match=rf"{node.name!r} calls a ReLU"):
        lower(network)
