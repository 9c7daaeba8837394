"""Capture of the test zoo: the same function, at any batch size, under the user's own names."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from tersor.data.given.samples import fixed_batch
from tersor.frontend.axes import FIXED
from tersor.frontend.capture import capture
from tersor.graph.mode import set_training
from tersor.graph.network import Gaussian
from tersor.graph.shapes import is_free
from tersor.graph.simplify import fold
from tests.captured import assert_same_function, captured
from tests.zoo import ZOO

names = pytest.mark.parametrize("name", ZOO)


def inputs(name, dtype=torch.float64):
    """Inputs that capture has not seen, in batches of 1, 2 and 5."""
    case = ZOO[name]
    return [(case.args(dtype, n, seed=5), case.kwargs(dtype, n, seed=5)) for n in (1, 2, 5)]


@names
def test_computes_the_same_in_every_batch_size_from_an_example_of_one(name):
    network, model = captured(name), ZOO[name].make().double()
    assert_same_function(network, model, inputs(name), tolerance=1e-12)
    for args, kwargs in inputs(name):
        structure = pytree.tree_structure(network(*args, **kwargs))
        assert structure == pytree.tree_structure(model(*args, **kwargs))


@names
def test_float_state_dict_keeps_its_keys_and_loads(name):
    network, model = captured(name), ZOO[name].make().double()
    state = {
        key: torch.rand_like(x) if x.is_floating_point() else x
        for key, x in model.state_dict().items()
    }
    assert network.module.state_dict().keys() == state.keys()
    network.module.load_state_dict(state)
    model.load_state_dict(state)
    assert_same_function(network, model, inputs(name), tolerance=1e-10)


@names
def test_graph_is_functional(name):
    for node in captured(name).nodes():
        assert node.op in ("placeholder", "get_attr", "call_function", "output")
        if isinstance(node.target, torch._ops.OpOverload):
            assert not node.target._schema.is_mutable
            assert "view" not in str(node.target)  # reshape instead: needs no contiguous input
    targets = [str(node.target) for node in captured(name).nodes() if node.op == "get_attr"]
    assert len(targets) == len(set(targets))


@names
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning")  # inside torch
def test_pickle_and_deepcopy(name):
    network = captured(name)
    fold(network)
    network.statistics[list(network.nodes())[-2].name] = last = Gaussian(*torch.rand(2, 3))
    loaded = pickle.loads(pickle.dumps(network))  # noqa: S301
    for twin in (loaded, copy.deepcopy(network)):
        assert_same_function(twin, network, inputs(name), tolerance=0)
        assert twin.module.state_dict().keys() == network.module.state_dict().keys()
        assert twin.records == network.records
        assert set(twin.statistics) <= {node.name for node in twin.nodes()}
        notes = twin.statistics[[n for n in twin.nodes() if n.op != "get_attr"][-2].name]
        assert torch.equal(notes.mean, last.mean)
        fold(twin)  # the copy is as good as the original


@pytest.mark.parametrize("name", ["plain", "perceptron", "shared_conv", "densenet", "branches"])
def test_training_mode_trains_as_the_model_does(name):
    model = ZOO[name].make().double()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # it would draw different numbers
    args, _ = inputs(name)[-1]
    network = capture(model, args)
    set_training(network, True)
    for module in (network.module, model.train()):
        module(*args).square().sum().backward()
    mine, theirs = dict(network.module.named_parameters()), dict(model.named_parameters())
    assert mine.keys() == theirs.keys()
    for key, parameter in theirs.items():
        assert torch.allclose(mine[key].grad, parameter.grad, rtol=1e-9, atol=1e-9)
    for key, buffer in model.named_buffers():
        if "running" in key:
            assert torch.allclose(network.module.get_buffer(key), buffer, rtol=1e-12)
    set_training(network, False)
    assert_same_function(network, model.eval(), inputs(name), tolerance=1e-10)


DROPOUTS = [nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout]


@pytest.mark.parametrize("kind", DROPOUTS)
def test_training_mode_flips_every_dropout(kind):
    network = capture(nn.Sequential(kind(0.5)), torch.ones(2, 64, 3))
    x = torch.ones(3, 64, 3)
    assert torch.equal(network(x), x)
    set_training(network, True)
    assert not torch.equal(network(x), x)
    set_training(network, False)
    assert torch.equal(network(x), x)


def test_norms_without_running_statistics_stay_as_they_are():
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.InstanceNorm1d(3))
    network = capture(model, x := torch.randn(4, 3, 5))
    for training in (True, False):
        set_training(network, training)
        assert torch.allclose(network(x), model(x), atol=1e-6)


def test_accepts_a_saved_program(tmp_path):
    model = ZOO["two_inputs"].make()
    case = ZOO["two_inputs"]
    dynamic = {name: {0: torch.export.Dim.DYNAMIC} for name in ("image", "vector", "gain")}
    program = torch.export.export(model, case.args(), case.kwargs(), dynamic_shapes=dynamic)
    seen = inputs("two_inputs", torch.float32)
    torch.export.save(program, tmp_path / "model.pt2")
    network = capture(torch.export.load(tmp_path / "model.pt2"))
    assert_same_function(network, model, seen, tolerance=1e-6)
    assert network.args[0].shape == case.args()[0].shape
    again = capture(program)
    fold(again)
    for tensor in again.module.state_dict().values():
        tensor.zero_()
    assert_same_function(program.module(), model, seen, tolerance=1e-6)


def test_a_program_that_was_exported_in_training_mode_runs_in_inference():
    model = ZOO["perceptron"].make()
    x = torch.randn(4, 10)
    program = torch.export.export(
        model.train(), (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    )
    assert_same_function(capture(program), model.eval(), [((x,), {})], tolerance=1e-5)


class Pooled(nn.Module):
    """A convolution, pooling and a linear layer: PyTorch writes the batch into the sizes."""

    def __init__(self, share: bool = False):
        super().__init__()
        self.conv, self.out, self.share = nn.Conv2d(3, 6, 3), nn.Linear(6, 5), share

    def forward(self, image):
        x = nn.functional.adaptive_avg_pool2d(self.conv(image).relu(), 1)
        y = self.out(torch.flatten(x, 1))
        return y - y.mean(0) if self.share else y


@pytest.mark.parametrize("batch", [1, 4])
def test_the_batch_of_a_program_is_opened_where_that_is_exact(batch):
    model = Pooled().eval()
    program = torch.export.export(model, (torch.randn(batch, 3, 8, 8),))
    network = capture(program)
    assert fixed_batch(network) is None
    assert not network.records
    assert network.module.state_dict().keys() == model.state_dict().keys()
    seen = [((torch.randn(count, 3, 8, 8),), {}) for count in (1, 3, 8)]
    assert_same_function(network, model, seen, tolerance=1e-6)


def test_other_sizes_of_a_program_stay_as_they_are():
    """The mean over tokens is a sum times a number of the program."""

    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(9, 5)

        def forward(self, tokens):
            return self.words(tokens).sum(1) / tokens.shape[1]

    program = torch.export.export(Mean(), (torch.zeros(1, 6, dtype=torch.int64),))
    (tokens,) = capture(program).graph.find_nodes(op="placeholder")
    assert [is_free(size) for size in tokens.meta["val"].shape] == [True, False]


def test_a_program_that_mixes_the_samples_of_a_batch_keeps_its_size():
    model = Pooled(share=True).eval()
    x = torch.randn(4, 3, 8, 8)
    network = capture(torch.export.export(model, (x,)))
    assert fixed_batch(network) == 4
    (record,) = network.records
    assert (record.layer, record.step) == ("image", FIXED)
    assert "fixed at 4: the program was exported for it" in record.reason
    assert_same_function(network, model, [((x,), {})], tolerance=1e-6)


class Tokens(nn.Module):
    """A lookup and a mean over however many tokens; `weights` needs four of them."""

    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(9, 5), nn.Linear(4, 3)

    def forward(self, tokens, weights):
        return self.words(tokens).mean(1).mean(1, keepdim=True) + self.out(weights.float())


def test_the_length_of_texts_stays_free_where_the_model_allows_it():
    model = Tokens().eval()
    network = capture(model, (torch.randint(9, (2, 6)), torch.ones(2, 4, dtype=torch.int64)))
    tokens, weights = network.graph.find_nodes(op="placeholder")
    assert [is_free(size) for size in tokens.meta["val"].shape] == [True, True]
    assert [is_free(size) for size in weights.meta["val"].shape] == [True, False]
    longer = torch.randint(9, (3, 11)), torch.ones(3, 4, dtype=torch.int64)
    assert_same_function(network, model, [(longer, {})], tolerance=1e-6)


@pytest.mark.parametrize("before", [True, False])
def test_calls_hold_no_stacks_and_torchs_own_setting_stays(before, monkeypatch):
    monkeypatch.setattr("torch.fx.config.do_not_emit_stack_traces", before)
    network = capture(nn.Linear(3, 2).eval(), torch.randn(2, 3))
    assert all("stack_trace" not in node.meta for node in network.graph.nodes)
    assert torch.fx.config.do_not_emit_stack_traces is before
