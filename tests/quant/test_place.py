"""Quantizers sit where the target computes in integers, and nowhere else.

What onnxruntime fuses decides; the facts were measured with `tersor.export.kernels`.
"""

from collections import defaultdict
from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from tersor.errors import InvalidInputError, InvalidModelError, UnsupportedError
from tersor.frontend.capture import capture
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network, Skipped
from tersor.graph.nodes import argument, readers, source
from tersor.graph.simplify import simplify
from tersor.passes.equalize import equalize
from tersor.quant.placement.integer_values import DROPOUTS
from tersor.quant.placement.place import place, quantizers
from tersor.quant.placement.quantizer import BiasQuantize, FakeQuantize
from tersor.quant.scheme import Scheme
from tersor.quant.schemes import DFQ_PAPER, ONNXRUNTIME_CPU, TENSORRT
from tests.captured import outputs
from tests.zoo import ZOO


class Net(nn.Module):
    """Layers by name, and the function that calls them."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = forward

    def forward(self, *args: Tensor):
        return self.function(self, *args)


def conv(inputs: int = 4, outputs: int = 4, kernel: int = 1, **options) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, **options)


def placed(forward, *example: Tensor, scheme: Scheme = ONNXRUNTIME_CPU, exclude=(), **parts):
    """The network of a forward function, with quantizers."""
    torch.manual_seed(0)
    args = example or (torch.randn(2, 4, 6, 6),)
    network = capture(Net(forward, **parts), args)
    place(network, scheme, exclude)
    return network


def activations(network: Network) -> dict[str, str]:
    """Value → module of its quantizer; names of ops without their number."""
    found = {}
    for node, _ in quantizers(network):
        if source(node).op != "get_attr":
            assert node.args[0] is source(node)
            assert source(node).name not in found
            found[source(node).name] = str(node.target)
    return found


def values(network: Network) -> set[str]:
    """The values that carry a quantizer."""
    return set(activations(network))


# --- one kernel after the other -----------------------------------------------------------------


def test_a_relu_is_part_of_the_convolution():
    network = placed(lambda m, x: m.b(F.relu(m.a(x))), a=conv(), b=conv())
    assert values(network) == {"args_0", "relu", "conv2d_1"}


@pytest.mark.parametrize("clip", [F.relu6, lambda x: x.clamp(0, 3), lambda x: x.clamp(min=0)])
def test_so_is_a_clip_from_zero(clip):
    network = placed(lambda m, x: m.b(clip(m.a(x))), a=conv(), b=conv())
    (middle,) = values(network) - {"args_0", "conv2d_1"}
    assert middle in ("relu6", "hardtanh", "clamp", "clamp_min")


@pytest.mark.parametrize("clip", [F.hardtanh, lambda x: x.clamp(max=3), lambda x: x.clamp(0.5, 6)])
def test_a_clip_from_elsewhere_is_not(clip):
    network = placed(lambda m, x: m.b(clip(m.a(x))), a=conv(), b=conv())
    assert len(values(network)) == 4
    assert "conv2d" in values(network)


def test_a_convolution_with_two_readers_is_written_before_its_relu():
    def forward(m, x):
        x = m.a(x)
        return m.b(F.relu(x)), m.c(x)

    network = placed(forward, a=conv(), b=conv(), c=conv())
    assert values(network) == {"args_0", "conv2d", "relu", "conv2d_1", "conv2d_2"}


def test_a_residual_join_ends_in_its_relu():
    def forward(m, x):
        x = F.relu(m.a(x))
        return m.c(F.relu(m.b(x) + x))

    network = placed(forward, a=conv(), b=conv(), c=conv())
    assert values(network) == {"args_0", "relu", "conv2d_1", "relu_1", "conv2d_2"}


def test_a_join_without_relu():
    network = placed(lambda m, x: m.b(m.a(x) + x), a=conv(), b=conv())
    assert values(network) == {"args_0", "conv2d", "add", "conv2d_1"}


@pytest.mark.parametrize("join", [torch.add, torch.mul])
@pytest.mark.parametrize("act", [F.relu, F.relu6])
def test_a_join_has_a_kernel_of_its_own(join, act):
    """Its inputs have to be integers then; linear layers alone would write floating point."""
    network = placed(
        lambda m, x: m.c(act(join(m.a(x), m.b(x)))), torch.randn(2, 4), **linears("abc")
    )
    (joined,) = values(network) - {"args_0", "linear", "linear_1"}
    assert joined in ("relu", "relu6", "hardtanh")


@pytest.mark.parametrize(
    "join",
    [
        lambda x, y: x - y,
        lambda x, y: torch.add(x, y, alpha=0.5),
        lambda x, y: x / (y.abs() + 1),
        lambda x, y: torch.maximum(x, y),
        lambda x, y: 2 * x,
        lambda x, y: x + 1,
    ],
)
def test_other_arithmetic_is_done_in_floating_point(join):
    network = placed(lambda m, x: m.c(join(m.a(x), m.b(x))), torch.randn(2, 4), **linears("abc"))
    assert len(values(network) - {"args_0"}) == 1
    assert not values(network) & {"linear", "linear_1"}


def test_a_concatenation_reads_and_writes_integers():
    network = placed(
        lambda m, x: m.c(F.relu(torch.cat((m.a(x), m.b(x)), 1))), a=conv(), b=conv(), c=conv(8)
    )
    assert values(network) == {"args_0", "conv2d", "conv2d_1", "relu", "conv2d_2"}


def test_arithmetic_with_stored_tensors_and_numbers_stays_in_floating_point():
    network = placed(
        lambda m, x: m.b(torch.cat((2 * m.a(x) + m.s, m.s))),
        a=conv(),
        b=conv(),
        s=nn.Parameter(torch.randn(1, 4, 6, 6)),
    )
    assert values(network) == {"args_0", "conv2d", "cat", "conv2d_1"}


def test_pooling():
    def forward(m, x):
        x = F.avg_pool2d(F.max_pool2d(F.relu(m.a(x)), 2), 2)
        return m.fc(F.adaptive_avg_pool2d(m.b(x), 1).flatten(1))

    network = placed(forward, a=conv(), b=conv(), fc=nn.Linear(4, 3))
    found = activations(network)
    assert set(found) == {
        *("args_0", "relu", "max_pool2d", "avg_pool2d", "conv2d_1"),
        *("adaptive_avg_pool2d", "flatten"),
    }
    assert found["max_pool2d"] == found["relu"]
    assert found["flatten"] == found["adaptive_avg_pool2d"]
    assert len(set(found.values())) == 5


@pytest.mark.parametrize("keepdim", [False, True])
def test_the_mean_over_all_positions_is_global_pooling(keepdim):
    network = placed(
        lambda m, x: m.b(m.a(x).mean((2, 3), keepdim).view(-1, 4, 1, 1)), a=conv(), b=conv()
    )
    found = activations(network)
    assert found["view"] == found["mean"] != found["conv2d"]


def test_other_means_are_not():
    network = placed(lambda m, x: m.b(m.a(x).mean(1)), torch.randn(2, 5, 4), **linears("ab"))
    assert values(network) == {"args_0", "mean"}


def linears(names: str) -> dict[str, nn.Linear]:
    return {name: nn.Linear(4, 4) for name in names}


# --- activations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "name"),
    [
        (lambda x: F.leaky_relu(x, 0.1), "leaky_relu"),
        (F.silu, "silu"),
        (F.hardswish, "hardswish"),
        (F.gelu, "gelu"),
        (torch.tanh, "tanh"),
        (torch.sigmoid, "sigmoid"),
    ],
)
def test_other_activations_sit_between_two_quantizers(act, name):
    network = placed(lambda m, x: m.b(act(m.a(x))), a=conv(), b=conv())
    assert values(network) == {"args_0", "conv2d", name, "conv2d_1"}
    assert len(set(activations(network).values())) == 4


def test_a_gate():
    def forward(m, x):
        x = F.relu(m.a(x))
        return m.c(x * torch.sigmoid(m.b(F.adaptive_avg_pool2d(x, 1))))

    network = placed(forward, a=conv(), b=conv(), c=conv())
    assert values(network) == {
        *("args_0", "relu", "adaptive_avg_pool2d", "conv2d_1", "sigmoid", "mul", "conv2d_2")
    }


def test_a_per_channel_clip_is_done_in_floating_point():
    """The convolution needs a quantizer of its own, before the minimum."""
    torch.manual_seed(0)
    model = nn.Sequential(conv(), nn.ReLU6(), conv())
    network = capture(model, torch.randn(2, 4, 6, 6))
    equalize(network)
    place(network, ONNXRUNTIME_CPU)
    assert values(network) == {"input_1", "relu", "minimum", "conv2d_1"}


# --- ends ---------------------------------------------------------------------------------------


def test_the_last_linear_layer_writes_floating_point():
    network = placed(lambda m, x: m.b(F.relu(m.a(x))), torch.randn(2, 4), **linears("ab"))
    assert values(network) == {"args_0", "relu"}


def test_the_last_convolution_needs_a_quantizer():
    network = placed(lambda m, x: m.a(x).flatten(1), a=conv())
    assert values(network) == {"args_0", "conv2d"}


def test_an_output_that_is_read_elsewhere_is_read_through_its_quantizer():
    def forward(m, x):
        y = F.relu(m.a(x))
        return y, m.b(y)

    network = placed(forward, a=conv(), b=conv())
    (results,) = network.graph.output_node().args
    assert all(result.op == "call_module" for result in results)


def test_linear_layers_write_floating_point_for_readers_of_floating_point():
    """A residual stream that only LayerNorm reads is never rounded."""

    def forward(m, x):
        x = m.a(x)
        x = x + m.c(F.gelu(m.b(m.norm(x))))
        return m.d(m.norm(x))

    tokens = torch.randn(2, 5, 4)
    network = placed(forward, tokens, **linears("abcd"), norm=nn.LayerNorm(4))
    assert values(network) == {"args_0", "layer_norm", "gelu", "layer_norm_1"}


def test_a_product_of_activations_reads_integers():
    def forward(m, x):
        scores = (m.q(x) @ m.k(x).transpose(1, 2)) / 2
        return m.o(scores.softmax(-1) @ m.v(x))

    network = placed(forward, torch.randn(2, 5, 4), **linears("qkvo"))
    found = activations(network)
    assert set(found) == {
        *("args_0", "linear", "linear_1", "linear_2", "transpose", "softmax", "matmul_1")
    }
    assert found["transpose"] == found["linear_1"]


def test_a_product_with_a_fixed_matrix_stays_in_floating_point():
    network = placed(
        lambda m, x: m.a(x) @ m.w,
        torch.randn(2, 5, 4),
        **linears("a"),
        w=torch.eye(4),
    )
    assert values(network) == {"args_0"}


def test_a_stored_table_that_is_repeated_for_each_sample_has_a_quantizer():
    def forward(m, x):
        return m.a(x) + m.b(m.table.expand(x.shape[0], -1, -1))

    table = nn.Parameter(torch.randn(1, 5, 4))
    network = placed(forward, torch.randn(2, 5, 4), **linears("ab"), table=table)
    found = activations(network)
    assert set(found) == {"args_0", "expand"}
    assert biases(network)["linear_1"][0] == f"{found['expand']}.scale"


def test_an_embedding_is_looked_up_in_integers():
    ids = torch.randint(7, (2, 5))
    parts = {"embed": nn.Embedding(7, 4), "out": nn.Linear(4, 3)}
    network = placed(lambda m, x: m.out(m.embed(x)), ids, **parts)
    assert values(network) == {"embedding"}
    weights = {source(n).target: q for n, q in quantizers(network) if source(n).op == "get_attr"}
    assert weights.keys() == {"out.weight", "embed.weight"}
    assert weights["embed.weight"].axis == 1  # a scale per column


@pytest.mark.parametrize("options", [{"scheme": TENSORRT}, {"exclude": ["embed"]}])
def test_or_in_floating_point(options):
    ids = torch.randint(7, (2, 5))
    parts = {"embed": nn.Embedding(7, 4), "out": nn.Linear(4, 3)}
    network = placed(lambda m, x: m.out(m.embed(x)), ids, **parts, **options)
    weights = [source(n).target for n, _ in quantizers(network) if source(n).op == "get_attr"]
    assert weights == ["out.weight"]


# --- values that are only moved -----------------------------------------------------------------


def test_parts_and_shuffles_share_a_module():
    def forward(m, x):
        x = F.relu(m.a(x))
        left, right = x.chunk(2, 1)
        x = torch.cat((left, m.b(right)), 1)
        n, c, h, w = x.shape
        return m.c(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))

    network = placed(forward, a=conv(), b=conv(2, 2), c=conv())
    found = activations(network)
    groups = defaultdict(set)
    for value, module in found.items():
        groups[module].add(value)
    assert {frozenset(group) for group in groups.values()} == {
        frozenset({"args_0"}),
        frozenset({"relu", "getitem", "getitem_1"}),
        frozenset({"conv2d_1"}),
        frozenset({"cat", "view", "transpose", "reshape"}),
        frozenset({"conv2d_2"}),
    }


def test_dropout_is_looked_through():
    def forward(m, x):
        return m.b(F.dropout2d(F.dropout(F.relu(m.a(x)), training=m.training), training=m.training))

    network = placed(forward, a=conv(), b=conv())
    assert values(network) == {"args_0", "relu", "conv2d_1"}


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
def test_padding_keeps_the_grid(mode):
    network = placed(
        lambda m, x: m.b(F.pad(F.relu(m.a(x)), (0, 1, 0, 1), mode)), a=conv(), b=conv()
    )
    found = activations(network)
    assert set(found) == {"args_0", "relu", "pad", "conv2d_1"}
    assert found["pad"] == found["relu"]


def test_padding_with_another_number_does_not():
    network = placed(
        lambda m, x: m.b(F.pad(F.relu(m.a(x)), (1, 1), value=-3.0)), a=conv(), b=conv()
    )
    found = activations(network)
    assert found["pad"] != found["relu"]


def test_the_value_beside_indices_has_its_own_quantizer():
    def forward(m, x):
        return m.b(F.max_pool2d(m.a(x), 2, return_indices=True)[0])

    network = placed(forward, a=conv(), b=conv())
    found = activations(network)
    assert set(found) == {"args_0", "conv2d", "getitem", "conv2d_1"}
    assert len(set(found.values())) == 4
    assert len(biases(network)) == 2


# --- weights and biases -------------------------------------------------------------------------


def biases(network: Network) -> dict[str, tuple[str, ...]]:
    """Layer → the scales that its bias quantizer reads."""
    found = {}
    for layer in layers(network):
        edge = argument(layer.node, "bias")
        if edge is not None and edge.op == "call_module":
            module = network.module.get_submodule(str(edge.target))
            assert isinstance(module, BiasQuantize)
            found[layer.node.name] = tuple(str(scale.target) for scale in edge.args[1:])
    return found


def weight_module(layer: Layer) -> tuple[str, FakeQuantize]:
    edge = argument(layer.node, "weight")
    return str(edge.target), layer.network.module.get_submodule(str(edge.target))


def test_the_scale_of_a_bias_is_that_of_input_and_weight():
    network = placed(lambda m, x: m.b(F.relu(m.a(x)).flatten(1)), a=conv(), b=nn.Linear(144, 2))
    found = activations(network)
    for layer in layers(network):
        weight, _ = weight_module(layer)
        read = found[source(layer.node.args[0]).name]
        assert biases(network)[layer.node.name] == (f"{read}.scale", f"{weight}.scale")


def test_a_layer_without_bias_gets_zeros():
    network = placed(lambda m, x: m.a(x), a=conv(bias=False))
    (layer,) = layers(network)
    assert layer.bias is not None
    assert torch.equal(layer.bias, torch.zeros(4))
    assert biases(network).keys() == {"conv2d"}


@pytest.mark.parametrize("scheme", [TENSORRT, replace(TENSORRT, per_channel=False)])
@pytest.mark.parametrize(
    ("layer", "axis"),
    [
        (conv(), 0),
        (conv(kernel=3, groups=4), 0),
        (nn.ConvTranspose2d(4, 6, 2), 1),
        (nn.ConvTranspose2d(4, 6, 2, groups=2), None),
        (nn.Linear(6, 3), 0),
    ],
)
def test_the_axis_of_weight_scales(scheme, layer, axis):
    network = placed(lambda m, x: m.layer(x), layer=layer, scheme=scheme)
    _, module = weight_module(next(layers(network)))
    assert module.axis == (axis if scheme.per_channel else None)
    assert module.grid == scheme.weight


def test_a_shared_weight_is_quantized_once():
    network = placed(lambda m, x: m.a(F.relu(m.a(x))), a=conv())
    (first, _), (second, _) = (weight_module(layer) for layer in layers(network))
    assert first == second
    assert len(biases(network)) == 2
    weights = [node for node, _ in quantizers(network) if source(node).op == "get_attr"]
    assert len(weights) == 1


def test_other_readers_of_a_weight_keep_the_float_tensor():
    def forward(m, ids):
        return F.linear(m.embed(ids), m.embed.weight)

    network = placed(forward, torch.randint(7, (2, 5)), embed=nn.Embedding(7, 4))
    (embedding,) = network.graph.find_nodes(
        op="call_function", target=torch.ops.aten.embedding.default
    )
    assert embedding.args[0].op == "get_attr"
    (layer,) = layers(network)
    assert layer.weight_node is embedding.args[0]
    assert weight_module(layer)[1].grid.signed


def test_a_bare_parameter_gets_a_bias_beside_it():
    network = placed(
        lambda m, x: F.conv2d(x, m.kernel), kernel=nn.Parameter(torch.randn(2, 4, 1, 1))
    )
    assert {"kernel", "kernel_bias"} <= set(network.module.state_dict())


def test_an_addition_in_floating_point_reads_what_was_not_rounded():
    """Around a layer of a transformer: the sum is in float, and so is what is normalized."""

    def block(net, x):
        normal = net.first(x)
        return net.second(normal + net.linear(normal))

    parts = {"first": nn.LayerNorm(8), "linear": nn.Linear(8, 8), "second": nn.LayerNorm(8)}
    network = placed(block, torch.randn(2, 4, 8), **parts)
    (total,) = network.graph.find_nodes(op="call_function", target=torch.ops.aten.add.Tensor)
    assert total.args[0].target is torch.ops.aten.layer_norm.default
    (layer,) = layers(network)
    assert isinstance(
        network.module.get_submodule(argument(layer.node, "input").target), FakeQuantize
    )


def test_a_computed_bias_stays_in_floating_point():
    network = placed(
        lambda m, x: F.conv2d(x, m.w, x.mean((0, 2, 3))),
        w=nn.Parameter(torch.eye(4)[..., None, None]),
    )
    assert values(network) == {"args_0", "conv2d"}
    assert biases(network) == {}


# --- what stays out -----------------------------------------------------------------------------


def test_excluded_layers_stay_in_floating_point():
    parts = {"a": conv(), "b": conv(), "c": conv()}
    network = placed(lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))), **parts, exclude=["b"])
    assert values(network) == {"args_0", "relu", "relu_1", "conv2d_2"}
    by_name = {layer.name: layer for layer in layers(network)}
    assert argument(by_name["b"].node, "weight").op == "get_attr"
    assert argument(by_name["b"].node, "bias").op == "get_attr"
    skipped = {r.layer: r.reason for r in network.records if isinstance(r, Skipped)}
    assert skipped == {"b": "excluded by the user"}


def test_nothing_around_an_excluded_end_is_rounded():
    network = placed(
        lambda m, x: m.b(F.relu(m.a(x))), torch.randn(2, 4), **linears("ab"), exclude=["a"]
    )
    assert values(network) == {"relu"}


def test_a_pattern_that_fits_nothing_is_an_error():
    with pytest.raises(InvalidInputError, match=r"'head.\*'.* a, b"):
        placed(lambda m, x: m.b(m.a(x)), a=conv(), b=conv(), exclude=["head.*"])


def test_nothing_to_quantize():
    with pytest.raises(UnsupportedError, match="nothing to quantize"):
        placed(lambda m, x: F.relu(x))
    with pytest.raises(UnsupportedError, match="not excluded"):
        placed(lambda m, x: m.a(x), a=conv(), exclude=["*"])


def test_quantizers_are_placed_once():
    network = placed(lambda m, x: m.a(x), a=conv())
    with pytest.raises(InvalidModelError, match="already"):
        place(network, ONNXRUNTIME_CPU)


def test_a_weight_from_the_input_is_left_alone():
    network = placed(lambda m, x: F.conv2d(m.a(x), x.mean((0, 2, 3)).view(1, 4, 1, 1)), a=conv())
    assert values(network) == {"args_0", "conv2d"}
    assert [r.layer for r in network.records if isinstance(r, Skipped)] == ["conv2d_1"]


def test_a_layer_that_reads_no_input_is_left_alone():
    network = placed(
        lambda m, x: m.a(x) + m.b(m.query),
        a=conv(),
        b=conv(),
        query=nn.Parameter(torch.randn(1, 4, 1, 1)),
    )
    assert [r.layer for r in network.records if isinstance(r, Skipped)] == ["b"]


# --- the whole zoo ------------------------------------------------------------------------------


def prepared(name: str) -> Network:
    """A network of the zoo as it comes to placement, free to be edited."""
    return _prepared(name).copy()


@cache
def _prepared(name: str) -> Network:
    case = ZOO[name]
    network = capture(case.make(), case.args(), case.kwargs())
    simplify(network)
    equalize(network)
    return network


@pytest.mark.parametrize("name", ZOO)
def test_switched_off_quantizers_change_nothing(name):
    network = prepared(name)
    keys = network.module.state_dict().keys()
    inputs = (network.args, network.kwargs)
    before = outputs(network, *inputs[0], **inputs[1])
    place(network, ONNXRUNTIME_CPU)
    after = outputs(network, *inputs[0], **inputs[1])
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))
    assert keys <= network.module.state_dict().keys()
    copy = network.copy()
    again = outputs(copy, *inputs[0], **inputs[1])
    assert all(torch.equal(x, y) for x, y in zip(before, again, strict=True))


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("scheme", [ONNXRUNTIME_CPU, DFQ_PAPER], ids=lambda scheme: scheme.name)
def test_invariants(name, scheme):
    network = prepared(name)
    place(network, scheme)
    edges = dict(quantizers(network))
    for layer in layers(network):
        if layer.node.target not in scheme.kernels:
            quantizer = edges.get(argument(layer.node, "weight"))
            assert quantizer is None or quantizer.stored_only
        elif layer.weight_node.op == "get_attr":
            read = through_dropout(layer.node.args[0])
            assert isinstance(edges[read], FakeQuantize)
            assert edges[read].grid == scheme.activation
            assert argument(layer.node, "weight") in edges
            assert layer.node.name in biases(network)
    for node in edges:
        assert node.args[0] not in edges
        value = source(node)
        assert sum(user in edges for user in value.users) == 1
    check_shared_modules(network, scheme)


def through_dropout(node: fx.Node) -> fx.Node:
    while node.target in DROPOUTS:
        node = node.args[0]
    return node


def check_shared_modules(network: Network, scheme: Scheme) -> None:
    """Values with one quantizer module are linked by ops that only move values."""
    groups = defaultdict(list)
    for node, _ in quantizers(network):
        groups[node.target].append(source(node))
    for first, *others in groups.values():
        for value in others:
            while value is not first:
                assert value.target in scheme.pass_through | DROPOUTS
                value = source(value.args[0])


@pytest.mark.parametrize("name", ZOO)
def test_switched_on_quantizers_run_and_stay_near(name):
    """Ranges from the values themselves, at 8 bits: the signal is kept to a few per cent."""
    network = prepared(name)
    wanted = outputs(network, *network.args, **network.kwargs)
    place(network, ONNXRUNTIME_CPU)
    seen = observed(network)
    for node, module in quantizers(network):
        value = seen[source(node)] if source(node) in seen else network.tensor(source(node))
        rows = value.detach() if module.axis is None else value.detach().movedim(module.axis, 0)
        low, high = rows.flatten(1 if module.axis is not None else 0).aminmax(dim=-1)
        module.set_range(low.clamp(max=0), high.clamp(min=0))
    got = outputs(network, *network.args, **network.kwargs)
    for want, have in zip(wanted, got, strict=True):
        assert not torch.equal(want, have) or not want.is_floating_point()
        assert (want - have).square().mean() < 0.01 * want.square().mean()


def observed(network: Network) -> dict[fx.Node, Tensor]:
    class Recorder(fx.Interpreter):
        def run_node(self, n):
            seen[n] = super().run_node(n)
            return seen[n]

    seen: dict = {}
    inputs = pytree.tree_leaves((network.args, network.kwargs))
    with torch.no_grad():
        Recorder(network.module).run(*inputs, enable_io_processing=False)
    return {node: value for node, value in seen.items() if isinstance(value, Tensor)}


def test_readers_look_through_quantizers():
    network = placed(lambda m, x: m.b(F.relu(m.a(x))), a=conv(), b=conv())
    (relu,) = network.graph.find_nodes(op="call_function", target=torch.ops.aten.relu.default)
    (reader,) = readers(relu)
    assert reader.name == "conv2d_1"
