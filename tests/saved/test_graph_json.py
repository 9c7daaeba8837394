"""Random graphs with free sizes survive JSON: the same nodes, functions and sizes."""

import json

import torch
from hypothesis import Phase, given, reject, settings
from hypothesis import strategies as st
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from tersor.errors import CaptureError
from tersor.frontend.capture import capture
from tersor.graph.network import Network
from tersor.saved.graph_json import SavedGraph, read_graph, write_graph
from tersor.saved.network_parts import read_network, write_network
from tersor.saved.tensor_pool import Pool, Store
from tersor.saved.typed import as_json, from_json

UNARY = {
    "relu": torch.relu,
    "half": lambda x: x[:, : x.shape[1] // 2],
    "twice": lambda x: torch.cat([x, x], 1),
    "pad": lambda x: nn.functional.pad(x, (1, 2)),
    "turn": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "mean": lambda x: x - x.mean(1, keepdim=True),
    "count": lambda x: x * x.shape[1],
    "filled": lambda x: x + x.new_full((x.shape[0], 1), float("inf")).clamp(max=2.5),
}


class Chain(nn.Module):
    """Calls functions one after the other, and returns what the last two of them gave."""

    def __init__(self, names):
        super().__init__()
        self.names = names
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        before = x
        for name in self.names:
            before, x = x, UNARY[name](x) * self.scale
        return {"last": x, "both": (x, [before])}


def text_of(network):
    return json.dumps(as_json(write_graph(network.graph)), allow_nan=False)


def again_of(network):
    """The network after it has been through JSON."""
    store = Store()
    saved = json.loads(json.dumps(as_json(write_network(network, store, "n")), allow_nan=False))
    kind = type(write_network(network, Store(), "n"))
    return read_network(from_json(saved, kind, "network"), Pool(store.tensors), None)


@settings(max_examples=8, phases=[Phase.generate])  # a capture takes long, so nothing is shrunk
@given(st.lists(st.sampled_from(sorted(UNARY)), min_size=1, max_size=5))
def test_a_graph_is_the_same_again(names):
    open_axes = {"x": {0: "batch", 1: "length"}}
    try:
        network = capture(Chain(names).eval(), torch.randn(3, 16), dynamic=open_axes)
    except CaptureError:  # halves of halves have no free size
        reject()
    again = again_of(network)
    assert text_of(again) == text_of(network)
    assert again.module.code == network.module.code
    x = torch.randn(5, 32)
    found, wanted = again(x), network(x)
    assert torch.equal(found["last"], wanted["last"])
    assert torch.equal(found["both"][1][0], wanted["both"][1][0])
    shapes = [
        [str(node.meta["val"].shape) for node in n.graph.nodes if node.op == "placeholder"]
        for n in (network, again)
    ]
    assert shapes[0] == shapes[1]


def test_sizes_that_depend_on_values_are_the_same_again():
    class Chosen(nn.Module):
        def forward(self, x):
            return torch.cat([x, x[x[:, 0].nonzero()[:, 0]] * 2])

    network = capture(Chosen(), torch.tensor([[1.0, 2.0], [0.0, 3.0], [4.0, 5.0]]))
    again = again_of(network)
    assert text_of(again) == text_of(network)
    assert "u0" in text_of(network)
    x = torch.tensor([[0.0, 1.0], [7.0, 3.0]])
    assert torch.equal(again(x), network(x))


def test_outputs_of_a_class_of_transformers_are_the_same_again():
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "vocab_size": 11}
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(**sizes, num_attention_heads=2)).eval()
    network = capture(model, kwargs={"input_ids": torch.tensor([[1, 2, 3], [4, 5, 6]])})
    found = again_of(network)(input_ids=torch.tensor([[7, 2]]))
    wanted = network(input_ids=torch.tensor([[7, 2]]))
    assert type(found) is type(wanted)
    assert torch.equal(found.logits, wanted.logits)


def test_a_graph_reads_only_what_its_module_has():
    network: Network = capture(nn.Linear(3, 2), torch.randn(2, 3))
    saved = from_json(json.loads(text_of(network)), SavedGraph, "graph")
    graph = read_graph(saved, {"weight", "bias"}, ())
    assert [n.target for n in graph.find_nodes(op="get_attr")] == ["weight", "bias"]
