"""Blocks: all layers, each once; what follows depends on the inputs through the exits only."""

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.utils import _pytree as pytree

from tersor.frontend.capture import capture
from tersor.graph.blocks import blocks
from tersor.graph.layers import layers
from tersor.graph.simplify import fold
from tersor.quant.placement.place import place
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tests.captured import captured
from tests.zoo import ZOO

CHAIN = ["0", "3", "6", "11"]
EXPECTED = {
    "plain": CHAIN,
    "vgg": ["0", "3", "6", "10", "12"],
    "resnet": ["0", "3.branch.0 … 3.branch.3", "4.branch.0 … 4.shortcut.0", "7"],
    "mobilenetv2": [
        "0",
        "3.branch.0 … 3.branch.6",
        "4.0",
        "4.3",
        "4.6",
        "5.branch.0 … 5.branch.6",
        "8",
    ],
    "shufflenet": ["0", "3.branch.0 … 3.branch.5", "4.branch.0 … 4.branch.5", "5", "8"],
    "densenet": ["0", "1.conv", "2.conv", "5", "7.conv", "12"],
    "encoder_layer": ["attention.in_proj_weight … attention.out_proj", "fc1 … fc2", "out"],
    "branches": ["stem.0", "left.0 … right.0", "out"],
    "manual_attention": ["query … value"],
}


def folded(name):
    network = captured(name)
    fold(network)
    return network


def layer_names(network):
    return [[layer.name for layer in block.layers] for block in blocks(network)]


class Forced(fx.Interpreter):
    """Runs a network with the values of some nodes given."""

    def __init__(self, network, given):
        super().__init__(network.module)
        self.given = given
        self.seen = {}

    def run_node(self, n):
        value = self.given[n] if n in self.given else super().run_node(n)
        self.seen[n] = value
        return value


def run(network, given, args, kwargs):
    forced = Forced(network, given)
    ordered = {name: kwargs[name] for name in network.kwargs}
    with torch.no_grad():
        result = forced.run(*pytree.tree_leaves((args, ordered)), enable_io_processing=False)
    return pytree.tree_leaves(result), forced.seen


@pytest.mark.parametrize("name", EXPECTED)
def test_the_blocks_of_known_networks(name):
    network = folded(name)
    assert [block.name for block in blocks(network)] == EXPECTED[name]


@pytest.mark.parametrize("name", ZOO)
def test_every_layer_is_in_one_block_in_order(name):
    network = folded(name)
    found = [layer.node for block in blocks(network) for layer in block.layers]
    assert found == [layer.node for layer in layers(network)]


@pytest.mark.parametrize("name", ZOO)
def test_the_exits_of_a_block_decide_the_outputs(name):
    case, network = ZOO[name], folded(name)
    one, other = (
        (case.args(torch.float64, seed=seed), case.kwargs(torch.float64, seed=seed))
        for seed in (1, 2)
    )
    outputs, values = run(network, {}, *one)
    for block in blocks(network):
        forced, _ = run(network, {node: values[node] for node in block.exits}, *other)
        assert all(torch.equal(a, b) for a, b in zip(outputs, forced, strict=True))


@pytest.mark.parametrize("name", ZOO)
def test_the_entries_of_a_block_decide_its_exits(name):
    case, network = ZOO[name], folded(name)
    one, other = (
        (case.args(torch.float64, seed=seed), case.kwargs(torch.float64, seed=seed))
        for seed in (1, 2)
    )
    _, values = run(network, {}, *one)
    for block in blocks(network):
        _, found = run(network, {node: values[node] for node in block.entries}, *other)
        assert all(torch.equal(values[node], found[node]) for node in block.exits)


@pytest.mark.parametrize("name", ["resnet", "mobilenetv2", "shufflenet", "encoder_layer"])
def test_quantizers_change_no_block_and_end_it(name):
    network = folded(name)
    before = layer_names(network)
    place(network, ONNXRUNTIME_CPU)
    assert layer_names(network) == before
    for block in blocks(network):
        readers = [user for node in block.exits for user in node.users]
        assert not any(user.op == "call_module" for user in readers) or len(block.exits) > 1


class Masked(nn.Module):
    """Two residual layers of a transformer, where a mask of token numbers goes to both."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.query = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.mix = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def forward(self, tokens, mask):
        hidden = torch.where(mask == 0, -1e4, 0.0)[:, None, :]
        x = self.embed(tokens)
        for query, mix in zip(self.query, self.mix, strict=True):
            scores = query(x) @ x.transpose(1, 2) + hidden
            x = x + F.gelu(mix(scores.softmax(-1) @ x))
        return x


def test_a_mask_passes_by():
    torch.manual_seed(0)
    example = (torch.randint(20, (2, 5)), torch.ones(2, 5, dtype=torch.int64))
    network = capture(Masked().eval(), example)
    found = list(blocks(network))
    assert [block.name for block in found] == ["query.0 … mix.0", "query.1 … mix.1"]
    assert all(len(block.entries) == 2 for block in found)
