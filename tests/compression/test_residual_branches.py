"""Residual branches that are left out: gone from the network and its file, and made up for."""

from typing import cast

import onnxruntime as ort
import pytest
import torch
from torch import nn

import tersor
from tersor.compression.counts import Counts
from tersor.compression.curves import curves
from tersor.compression.meter import Counted, hollow
from tersor.compression.parts import branch_parts, group_parts, layer_parts
from tersor.compression.plan import Execution, carry_out, ways_within
from tersor.compression.reconstruct import Reconstruct
from tersor.compression.residual_branches import branches, leave_out
from tersor.compression.scores import scorer
from tersor.compression.sweep import Sweep, damages, halves, try_part
from tersor.compression.ways import Dropped, Factored, Pruned
from tersor.core.metrics import sqnr
from tersor.data.given.samples import samples
from tersor.data.walk.one_at_a_time import outputs_of
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.graph.costs import costs, total
from tersor.graph.layers import layers
from tersor.graph.simplify import simplify


class Block(nn.Module):
    """Two convolutions beside a shortcut; a size tells how much of the sum is theirs."""

    def __init__(self, channels, size):
        super().__init__()
        self.one = nn.Conv2d(channels, channels + 2, 3, padding=1)
        self.two = nn.Conv2d(channels + 2, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels + 2)
        self.two.weight.data *= size

    def forward(self, x):
        return torch.relu(x + self.two(torch.relu(self.bn(self.one(x)))))


class Residual(nn.Module):
    """Four blocks, of which the second and the third do little."""

    def __init__(self, sizes=(1.0, 0.02, 0.05, 1.0)):
        super().__init__()
        self.start = nn.Conv2d(3, 12, 3, padding=1)
        self.blocks = nn.ModuleList(Block(12, size) for size in sizes)
        self.end = nn.Linear(12, 5)

    def forward(self, x):
        x = torch.relu(self.start(x))
        for block in self.blocks:
            x = block(x)
        return self.end(x.mean((2, 3)))


def images(count=32, seed=0):
    return torch.randn(count, 3, 8, 8, generator=torch.manual_seed(seed))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    found = capture(Residual().eval(), images(2))
    simplify(found)
    return found


def dropped(network, *numbers):
    return [Dropped(branches(network)[number]) for number in numbers]


def without(numbers):
    """The model with only some of its blocks; the means of the others' branches are added."""
    torch.manual_seed(0)
    model = Residual().eval()
    blocks = [cast("Block", block) for block in model.blocks]

    def run(given):
        was, now = (torch.relu(model.start(x)) for x in (images(), given))
        for number, block in enumerate(blocks):
            if number in numbers:
                constant = block.two(torch.relu(block.bn(block.one(was)))).mean(
                    (0, 2, 3), keepdim=True
                )
                was, now = torch.relu(was + constant), torch.relu(now + constant)
            else:
                was, now = block(was), block(now)
        return model.end(now.mean((2, 3)))

    return run


def test_branches_are_found(network):
    found = branches(network)
    assert [each.layers for each in found] == [
        (f"blocks.{n}.one", f"blocks.{n}.two") for n in range(4)
    ]
    assert found[1].name == "blocks.1.one … blocks.1.two"
    names = {node.name for node in network.graph.nodes}
    assert all({each.sum, each.trunk} <= names for each in found)


class Others(nn.Module):
    """Sums that hold no branch, or one that cannot go, and one with two sides that have layers."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.shared, self.wide = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 1, 1)
        self.outer = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = self.b(x) + self.a(x)  # a has more weights
        x = x + x
        x = x + torch.relu(self.outer(x))  # no layer is last
        x = x + self.wide(x)  # one channel, spread over all
        y = self.shared(x)
        return x + self.shared(y)  # a weight that is read twice


def test_which_sums_hold_a_branch():
    (found,) = branches(capture(Others().eval(), images(2)))
    assert (found.last, found.layers) == ("a", ("a",))
    assert found.name == "a"


def test_a_branch_that_holds_another_stays():
    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(3, 3, 1) for _ in range(3))

        def forward(self, x):
            y = self.a(x)
            return x + self.c(y + self.b(y))

    assert [each.last for each in branches(capture(Nested().eval(), images(2)))] == ["b"]


def test_its_layers_are_gone(network):
    ways = dropped(network, 1, 2)
    made = carry_out(Counts(network), ways, Execution())
    assert [each.name for each in layers(made)] == [
        "start", "blocks.0.one", "blocks.0.two", "blocks.3.one", "blocks.3.two", "end",
    ]  # fmt: skip
    assert network.statistics.keys() - made.statistics.keys() == {"conv2d_3", "conv2d_5"}
    state = made.copy().module.state_dict()
    assert not any(name.startswith("blocks.1") and "constant" not in name for name in state)
    assert [record.step for record in made.records if record.layer.startswith("blocks.1")][-1] == (
        "drop"
    )


def test_what_is_left_is_counted(network):
    counts = Counts(network)
    ways = [*dropped(network, 1), Factored("blocks.1.one", "spatial", 0.5, (4,))]
    for some in (ways[:1], ways):
        made = carry_out(counts, some, Execution())
        assert counts.cost(some).macs == total(costs(made).values()).macs
        kept = sum(value.numel() for value in made.module.state_dict().values())
        assert counts.cost(some).parameters == kept
        (outlined, _) = hollow(counts, some)
        assert total(costs(outlined).values()) == total(costs(made).values())


def test_the_constant_makes_up_for_the_mean():
    """Nothing behind the branches is fitted here, as the pull to the old weights is very strong."""
    torch.manual_seed(0)
    network = capture(Residual().eval(), images(2))
    simplify(network)
    execution = Execution(samples(network, images()), reconstruct=Reconstruct(damping=1e9))
    made = carry_out(Counts(network), dropped(network, 3), execution)
    wanted = without({3})(images(8, 5))
    constant = made.module.state_dict()["blocks.3.two.constant"]
    assert constant.shape == (12, 1, 1)
    bias = made.module.state_dict()["end.bias"] - network.module.state_dict()["end.bias"]
    torch.testing.assert_close(made(images(8, 5)) - bias, wanted, atol=1e-4, rtol=1e-4)


def test_the_layers_behind_make_up_for_the_rest(network):
    batches, new = samples(network, images(64)), images(64, 9)
    wanted = network(new)
    ways = dropped(network, 1, 2)
    fitted = carry_out(Counts(network), ways, Execution(batches))
    plain = carry_out(Counts(network), ways, Execution())
    assert sqnr(wanted, fitted(new)) > sqnr(wanted, plain(new)) + 3


def test_the_file_is_smaller_and_computes_the_same(network, tmp_path):
    x = images(64)
    found = tersor.compress(network, macs=0.6, data=x, options=tersor.Compression(methods=["drop"]))
    assert found.cost.macs <= 0.6 * found.original_cost.macs
    gone = [record.layer for record in found.records if record.step == "drop"]
    assert {"blocks.1.one … blocks.1.two", "blocks.2.one … blocks.2.two"} <= set(gone)
    assert "blocks.1.two.weight" in network.module.state_dict()  # the caller's is as it was
    small, whole = found.export(tmp_path / "s.onnx").path, tmp_path / "w.onnx"
    tersor.compress(network, macs=1.0, data=x, options=tersor.Compression(methods=["drop"])).export(
        whole
    )
    assert small.stat().st_size < 0.75 * whole.stat().st_size
    session = ort.InferenceSession(str(small), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(got), found.network(x), atol=1e-5, rtol=1e-4)
    quantized = tersor.quantize(found.network, data=x)
    assert sqnr(found.network(x), quantized(x)) > 15


def test_it_needs_samples(network):
    options = tersor.Compression(methods=["drop"])
    with pytest.raises(InvalidInputError, match="needs samples"):
        tersor.compress(network, macs=0.6, options=options)


@pytest.fixture(scope="module")
def tried(network):
    counts, batches = Counts(network), samples(network, list(images(64).split(16)))
    score = scorer(network, counts.groups.found, [], "magnitude")
    parts = [
        *layer_parts(counts, ["spatial"], (0.7, 0.4))[0],
        *group_parts(counts, score, (0.7, 0.4))[0],
        *branch_parts(counts),
    ]
    return counts, parts, damages(network, parts, Sweep(batches))


def test_the_damage_is_estimated_as_it_is(tried, network):
    """The same as running the rest of the network with a weight of zeros and the mean as bias."""
    _, parts, lost = tried
    batches = samples(network, list(images(64).split(16)))
    reference = outputs_of(network, halves(batches)[1])
    small = [n for n, part in enumerate(parts) if isinstance(part.ways[0], Dropped)][1:3]
    for number in small:
        (truth,) = try_part(network.copy(), parts[number], batches, reference)
        assert truth / 2 < lost[number][0] < 2 * truth


def test_a_branch_is_gone_or_compressed_never_both(tried):
    counts, parts, lost = tried
    meter, seen = Counted(counts), set()
    for share in (0.9, 0.7, 0.5, 0.35):
        ways = ways_within(meter, parts, lost, int(share * counts.whole.macs))
        assert counts.cost(ways).macs <= share * counts.whole.macs
        gone = {name for way in ways if isinstance(way, Dropped) for name in way.branch.layers}
        seen |= {isinstance(way, Dropped) for way in ways}
        for way in ways:
            if isinstance(way, Factored):
                assert way.layer not in gone
            if isinstance(way, Pruned):
                assert way.group not in gone or way.group.startswith("start")
    assert seen == {True, False}


def test_parts_of_a_branch_are_one_curve(tried):
    counts, parts, lost = tried
    meter = Counted(counts)
    found = curves(list(zip(parts, lost, strict=True)), meter.each, meter.left(parts))
    assert [curve.part for curve in found] == [
        "start", "blocks.0.one", "blocks.1.one", "blocks.2.one", "blocks.3.one", "end", "start",
    ]  # fmt: skip
    (of_branch,) = (c for c in found if c.part == "blocks.1.one")
    for candidate in of_branch.candidates:
        ways = candidate.what
        assert isinstance(ways, tuple)
        assert len(ways) == 1 or not any(isinstance(way, Dropped) for way in ways)
        saved = counts.whole.macs - counts.cost(ways).macs
        most = max(c.cost for c in of_branch.candidates)
        assert most - candidate.cost == pytest.approx(saved, abs=0.01 * counts.whole.macs)


def test_no_branch_no_constant(network):
    copy = network.copy()
    assert leave_out(copy, []) == {}
    assert len(list(copy.graph.nodes)) == len(list(network.graph.nodes))
