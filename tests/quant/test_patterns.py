"""What is excluded computes in floating point, whatever it is made of."""

from functools import cache

import onnx
import pytest
import torch
from torch import fx

from tersor.api.quantize import quantize
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.graph.layers import is_layer, layers
from tersor.graph.network import Network, Skipped
from tersor.graph.nodes import source
from tersor.quant.placement.patterns import excluded, widths
from tersor.quant.placement.place import place, quantizers
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tests.detector import IMAGE, detector


@cache
def _captured() -> Network:
    return capture(detector(), torch.rand(IMAGE))


def placed(*exclude: str) -> Network:
    network = _captured().copy()
    place(network, ONNXRUNTIME_CPU, exclude)
    return network


def inside(network: Network, module: str) -> set[fx.Node]:
    """The calls that are made in a sub-module, as PyTorch noted them."""
    paths = {
        n: [path for path, _ in n.meta.get("nn_module_stack", {}).values()]
        for n in network.nodes()
        if n.op == "call_function"
    }
    return {n for n, own in paths.items() if module in own}


def rounded(network: Network) -> set[str]:
    return {source(node).name for node, _ in quantizers(network) if source(node).op != "get_attr"}


def test_without_exclusion_the_head_has_quantizers():
    network = placed()
    assert {n.name for n in inside(network, "detect")} & rounded(network)


@pytest.mark.parametrize("pattern", ["detect", "detect.*", "det*", "detec?"])
def test_nothing_computed_in_an_excluded_module_is_rounded(pattern):
    network = placed(pattern)
    within = inside(network, "detect")
    assert len([n for n in within if is_layer(n)]) == 2
    assert len(within) > 12
    assert not {n.name for n in within} & rounded(network)
    assert all(arg is source(arg) for node in within for arg in node.all_input_nodes[1:])
    assert rounded(network)
    reasons = {r.layer: r.reason for r in network.records if isinstance(r, Skipped)}
    assert reasons["detect.maps.0"] == reasons["detect.maps.1"] == "excluded by the user"


def test_the_rest_is_quantized_as_before():
    before, after = placed(), placed("detect")
    outside = rounded(before) - {n.name for n in inside(before, "detect")}
    lost = outside - rounded(after)
    # Only what nothing but the head read in integers, and what no layer writes in integers.
    assert lost <= {n.name for node in inside(after, "detect") for n in node.all_input_nodes}
    assert rounded(after) <= outside


@pytest.mark.parametrize("pattern", ["detect.maps.1", "*.maps.1", "squeeze.reduce"])
def test_one_layer(pattern):
    (node,) = excluded(_captured(), [pattern])
    assert is_layer(node)


def test_a_function_by_the_name_of_its_node():
    names = {n.name for n in excluded(_captured(), ["cat", "exp"])}
    assert names == {"cat", "exp"}


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(
        InvalidInputError, match=r"'head'; there are stem, .*detect, .*squeeze\.exp"
    ):
        excluded(_captured(), ["detect", "head"])


def test_the_file_holds_the_head_in_float(tmp_path):
    """Nothing behind the head's layers is an integer in the exported file."""
    example = torch.rand(IMAGE)
    quantized = quantize(detector(), example, exclude=["detect"])
    path = quantized.export(tmp_path / "detector.onnx").path
    graph = onnx.load(path).graph
    reached, ops = {"detect.maps.0.weight", "detect.maps.1.weight"}, []
    for node in graph.node:
        if reached & set(node.input):
            reached |= set(node.output)
            ops.append(node.op_type)
    assert {"Conv", "Sigmoid", "Exp", "Concat"} <= set(ops)
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(ops)
    assert "QuantizeLinear" in {node.op_type for node in graph.node}
    result = quantized.verify(path, example, latency=False)
    assert len(result.runtime) == 3
    assert result.sqnr > 30
    skipped = {r.layer: r.reason for r in quantized.records if isinstance(r, Skipped)}
    assert "no integer kernel for transposed convolutions" in skipped["up"]
    assert "up" in dict(result.in_float)


def test_names_that_look_like_patterns_name_themselves():
    network = capture(torch.nn.Sequential(torch.nn.Linear(4, 4)), torch.rand(2, 4))
    (layer,) = layers(network)
    network.module.add_module("a[1]", network.module.get_submodule("0"))
    layer.weight_node.target = "a[1].weight"
    assert layer.name == "a[1]"
    assert excluded(network, ["a[1]"]) == {layer.node}


def test_what_the_user_calls_so_comes_before_a_node_of_that_name():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.linear = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

        def forward(self, x):
            return self.linear(self.first(x).relu())

    network = capture(Net(), torch.rand(2, 4))
    first, second = layers(network)
    assert first.node.name == second.name == "linear"
    assert excluded(network, ["linear"]) == {second.node}
    assert widths(network, {"first": 8, "linear": 2}) == {first.node: 8, second.node: 2}
    assert excluded(network, ["relu"]) < excluded(network, ["*"])
