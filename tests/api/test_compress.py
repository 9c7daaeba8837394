"""`tersor.compress`: budgets, levels, and what it leaves alone."""

import math
import re

import pytest
import torch
from torch import nn

import tersor
from benchmarks.zoo import MODELS
from tersor.compression import trial
from tersor.compression import within_latency as timing
from tersor.compression.gate_training import Gating
from tersor.compression.options import Compression
from tersor.errors import InvalidInputError
from tersor.graph import shapes
from tersor.graph.layers import layers
from tersor.graph.network import Network
from tests import nets
from tests.assets import needs_assets


def compress(**options):
    return tersor.compress(*nets.with_example(), **options)


@pytest.mark.parametrize(
    "budget",
    [{"macs": 0.6}, {"parameters": 0.7}, {"macs": 20_000.0}, {"megabytes": 0.0012}],
    ids=str,
)
@pytest.mark.parametrize("data", [None, nets.images(32)], ids=["weights", "data"])
def test_every_budget_is_met(budget, data):
    found = compress(**budget, data=data)
    ((name, value),) = budget.items()
    left = {
        "macs": found.cost.macs,
        "parameters": found.cost.parameters,
        "megabytes": found.cost.parameters * 4e-6,
    }[name]
    before = found.original_cost.macs if name == "macs" else found.original_cost.parameters
    assert left <= (value * before if value <= 1 and name != "megabytes" else value)
    assert {record.step for record in found.records} & {"factorize", "prune"}


@needs_assets
@pytest.mark.parametrize("methods", [("prune",), ("spatial",)], ids=str)
def test_a_real_network_has_what_was_asked_for(methods):
    model = MODELS["resnet20"]
    options = Compression(methods=methods)
    found = tersor.compress(model.load(), model.example(), macs=0.5, options=options)
    assert 0.495 < found.cost.macs / found.original_cost.macs <= 0.5


def test_no_network_is_edited_to_be_counted(monkeypatch):
    """However many parts there are: copies are for what is carried out, shapes looked up once."""
    calls = []

    def counted(name, run):
        return lambda *args: calls.append(name) or run(*args)

    monkeypatch.setattr(Network, "copy", counted("copy", Network.copy))
    monkeypatch.setattr(shapes, "_record", counted("shapes", shapes._record))
    tersor.compress(three_layers(), nets.images(2), macs=0.4, data=nets.images(32))
    assert calls.count("copy") <= 20
    assert calls.count("shapes") <= 10


def test_data_lose_less():
    x = nets.images(64, seed=5)
    errors = []
    for data in (None, nets.images(64)):
        found = compress(macs=0.5, data=data, options=Compression(methods=("spatial",)))
        with torch.no_grad():
            errors.append(float((found(x) - found.original(x)).square().mean()))
    assert errors[1] < errors[0]


def test_the_model_is_never_changed():
    model, example = nets.with_example()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tersor.compress(model, example, macs=0.5, data=nets.images(16))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_what_is_excluded_stays():
    found = compress(macs=0.7, exclude=["8"])
    weights = dict(found.network.module.named_parameters())
    assert weights["8.weight"].shape == (5, 8)
    assert "8.0.weight" not in weights


def test_it_goes_on_from_what_was_compressed():
    first = compress(macs=0.8, options=Compression(methods=("spatial",)))
    both = tersor.compress(first, macs=0.8, options=Compression(methods=("prune",)))
    assert both.original is first.original
    assert both.cost.macs <= 0.8 * first.cost.macs
    assert {"factorize", "prune"} <= {record.step for record in both.records}


def test_a_run_that_was_stopped_goes_on(tmp_path):
    data = nets.images(16)
    first = compress(macs=0.6, data=data, folder=tmp_path)
    seen = []
    again = compress(
        macs=0.4, data=data, folder=tmp_path, on_part=lambda *args: seen.append(args[2].step)
    )
    assert again.cost.macs < first.cost.macs
    assert "sweep" in seen
    with pytest.raises(tersor.TersorError, match="a run with other data"):
        compress(macs=0.6, data=nets.images(16, seed=9), folder=tmp_path)
    with pytest.raises(tersor.TersorError, match="a run with another metric; give"):
        compress(macs=0.6, data=data, metric=lambda y, t: (y - t).abs().max(), folder=tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"methods": ("svp",)}, "give a list of 'prune', 'svd'"),
        ({"methods": ()}, "methods is empty"),
        ({"ratios": (0.5, 1.5)}, "shares between 0 and 1"),
    ],
)
def test_unfit_options_are_refused(options, said):
    with pytest.raises(tersor.TersorError, match=said):
        Compression(**options)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("rule", "least-loss", "choose from 'least loss' or 'equal loss'"),
        ("scores", "norm", "choose from 'fisher', 'taylor'"),
    ],
)
def test_misspelt_words_are_refused(name, value, said):
    with pytest.raises(tersor.TersorError, match=said):
        Compression(**{name: value})


@pytest.mark.parametrize("kind", ["fisher", "taylor", "lasso"])
def test_some_scores_need_data(kind):
    with pytest.raises(tersor.TersorError, match="needs samples; give them with data="):
        compress(macs=0.5, options=Compression(scores=kind))


def test_the_lasso_may_choose_channels():
    options = Compression(methods=["prune"], scores="lasso")
    found = compress(macs=0.6, data=nets.images(16), options=options)
    assert found.cost.macs <= 0.6 * found.original_cost.macs


BATCHES = [nets.images(16, seed) for seed in range(4)]
SHORT = tersor.Training(epochs=2)


@pytest.mark.parametrize("budget", [{"macs": 0.5}, {"megabytes": 0.1}])
def test_a_model_without_layers(budget):
    model, example = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()).eval(), torch.randn(2, 3, 4, 4)
    with pytest.raises(InvalidInputError, match="nothing to compress: the model has no conv"):
        tersor.compress(model, example, **budget)
    with pytest.raises(InvalidInputError, match="nothing to compress: the model has no conv"):
        tersor.pareto(model, example, macs=[0.5])


class Logarithm(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x):
        return self.body(x).log()


def test_samples_on_which_the_model_returns_nan():
    model, data = Logarithm().eval(), torch.zeros(8, 8)
    with torch.no_grad():
        model.body[2].weight[:], model.body[2].bias[:] = -1.0, 1.0
        model.body[0].bias[:] = 0.0
        data[4:] = 9 * model.body[0].weight[:4]
    assert model(data)[:4].isfinite().all()
    assert model(data)[4:].isnan().any()
    with pytest.raises(InvalidInputError, match="outputs of the model hold NaN on the samples"):
        tersor.compress(model, data[:2], data=data, macs=0.6)


def test_what_is_left_is_trained():
    options = Compression(methods=("spatial",))
    found = compress(macs=0.5, data=nets.images(32), train=BATCHES, training=SHORT, options=options)
    assert [record.step for record in found.records][-1] == "train"
    assert found.cost.macs <= 0.5 * found.original_cost.macs


def test_training_batches_serve_as_samples_where_there_are_no_others():
    options = Compression(methods=("spatial",), ratios=(0.5, 0.3))
    still = tersor.Training(steps=1, rate=1e-9, bias_rate=1e-9)
    wanted = compress(macs=0.5, data=BATCHES, options=options)
    found = compress(macs=0.5, train=BATCHES, training=still, options=options)
    x = nets.images(4)
    with torch.no_grad():
        torch.testing.assert_close(found(x), wanted(x))


@pytest.mark.parametrize("kind", ["vib", "bayes", "l0"])
def test_gates_meet_the_budget(kind):
    options = Compression(methods=(kind,))
    found = compress(macs=0.6, train=BATCHES, training=SHORT, options=options)
    assert found.cost.macs <= 0.6 * found.original_cost.macs
    steps = [record.step for record in found.records]
    assert steps.count("train") == 2
    assert {"gates", "prune"} <= set(steps)
    x = nets.images(4)
    assert found(x).shape == found.original(x).shape


@pytest.mark.parametrize(
    "methods", [("spatial", "vib"), ("svd", "l0"), ("prune", "bayes")], ids=str
)
def test_gates_choose_from_what_other_methods_leave(methods):
    """The ranks of chains are channels, too, and both kinds of methods take their share."""
    options = Compression(methods=methods, gating=Gating(others=0.25))
    model, example = three_layers(), nets.images(2)
    given = {"data": nets.images(32), "train": BATCHES, "training": SHORT, "options": options}
    found = tersor.compress(model, example, macs=0.4, **given)
    assert 0.36 < found.cost.macs / found.original_cost.macs <= 0.4
    alone = Compression(methods=methods[:1])
    first = tersor.compress(model, example, macs=0.4**0.25, data=nets.images(32), options=alone)
    before, after = (
        {layer.name: layer.weight.shape[0] for layer in layers(each.network)}
        for each in (first, found)
    )
    assert before.keys() == after.keys()
    assert all(after[name] <= before[name] for name in before)
    ranks = [name for name in before if name.endswith(".0")]
    assert bool(ranks) == (methods[0] != "prune")
    assert not ranks or any(after[name] < before[name] for name in ranks)
    assert any(after[name] < before[name] for name in before if name not in ranks)
    x = nets.images(4)
    assert found(x).shape == found.original(x).shape


def test_the_budget_of_methods_before_gates_is_named_as_such():
    options = Compression(methods=("svd", "vib"), gating=Gating(others=0.9))
    said = r"macs=0\.\d+ before gates, with Gating\(others=0\.9\), is too small"
    with pytest.raises(tersor.TersorError, match=said):
        compress(macs=0.01, train=BATCHES, training=SHORT, options=options)


@pytest.mark.parametrize("learns", [False, True], ids=["the same", "something new"])
def test_what_gates_leave_is_fitted_to_the_model_where_that_lowers_the_loss(learns):
    """The fit makes up for the channels that are gone, and undoes what was learned meanwhile."""
    labelled = [(x, torch.ones(len(x), 4)) for x in BATCHES]
    new = {"train": labelled, "loss": lambda y, wanted: (y - wanted).square().mean()}
    given = new if learns else {"train": BATCHES}
    training = tersor.Training(steps=200, bias_rate=0.01)
    options = Compression(methods=("vib",))
    given |= {"training": training, "options": options, "macs": 0.5, "data": nets.images(32)}
    found = tersor.compress(three_layers(), nets.images(2), **given)
    (record,) = [record for record in found.records if record.step == "fit"]
    lost = record.numbers
    assert (lost["loss fitted"] < lost["loss as trained"]) == (not learns)
    assert str(record.what) == ("as the training left it" if learns else "fitted to the samples")


def test_a_training_with_gates_that_was_stopped_goes_on(tmp_path):
    options, training = Compression(methods=("vib",)), tersor.Training(steps=8, checkpoint_every=2)
    given = {"macs": 0.6, "training": training, "options": options, "data": BATCHES}

    def until(count):
        """Batches that break off."""
        for number, batch in enumerate(BATCHES * 8):
            if number == count:
                raise InterruptedError
            yield batch

    whole = compress(train=BATCHES, **given)
    with pytest.raises(InterruptedError):
        compress(train=lambda: until(3), folder=tmp_path, **given)
    assert (tmp_path / "gates" / "checkpoint.safetensors").is_file()
    resumed = compress(train=BATCHES, folder=tmp_path, **given)
    again = resumed.network.module.state_dict()
    for name, value in whole.network.module.state_dict().items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0)


def three_layers():
    """Two hidden groups of channels, 24 and 20 wide."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(24, 20, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(20, 18, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(18, 4),
    ).eval()


def gated(kind, macs, **options):
    """The widths that gates leave."""
    exclude = options.pop("exclude", ())
    found = tersor.compress(
        three_layers(),
        nets.images(2),
        macs=macs,
        train=BATCHES,
        training=SHORT,
        exclude=exclude,
        options=Compression(methods=(kind,), **options),
    )
    assert found.cost.macs <= macs * found.original_cost.macs
    return {layer.name: layer.weight.shape[0] for layer in layers(found.network)}


@pytest.mark.parametrize("kind", ["vib", "bayes", "l0"])
def test_gates_leave_alone_what_is_excluded(kind):
    widths = gated(kind, 0.7, exclude=["0"])
    assert widths["0"] == 24
    assert widths["2"] < 20 or widths["4"] < 18
    widths = gated(kind, 0.8, exclude=["2"])  # which reads what "0" makes
    assert widths["4"] < 18
    assert {**widths, "4": 18} == {"0": 24, "2": 20, "4": 18, "8": 4}


def test_gates_have_nothing_left_or_no_such_name():
    with pytest.raises(tersor.TersorError, match="no channels for 'vib' gates"):
        gated("vib", 0.5, exclude=["0", "2", "4", "8"])
    with pytest.raises(tersor.TersorError, match="nothing_here"):
        gated("vib", 0.5, exclude=["nothing_here"])


@pytest.mark.parametrize("kind", ["vib", "bayes", "l0"])
def test_gates_leave_multiples(kind):
    widths = gated(kind, 0.5, multiple=4)
    assert {widths[name] % 4 for name in ("0", "2")} == {0}
    assert widths["4"] % 4 == 0 or widths["4"] == 18
    assert sum(widths.values()) < 24 + 20 + 18 + 4


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"macs": 0.01}, r"macs=0\.01 is too small: .* is 0\.\d{2,3}\. Give a larger share"),
        ({"macs": 1234.0}, r"macs=1,234 is too small: .* is \d+,\d{3}\. Give a larger budget"),
        ({"parameters": 0.05}, r"parameters=0\.05 is too small: .* is 0\.\d{1,3}\. Give"),
        ({"megabytes": 1e-5}, r"megabytes=1e-05 is too small: .* is 0\.001\. Give a larger budget"),
    ],
    ids=str,
)
def test_a_budget_that_is_too_small_is_named_as_it_was_given(budget, said):
    with pytest.raises(tersor.TersorError, match=said):
        compress(**budget, data=nets.images(16))


def test_the_least_that_is_named_can_be_reached():
    with pytest.raises(tersor.TersorError) as refused:
        compress(macs=0.01)
    least = float(re.findall(r"reached is (0\.\d+)\.", str(refused.value))[0])
    found = compress(macs=least)
    assert found.cost.macs / found.original_cost.macs <= least


def test_gates_name_a_budget_that_is_too_small_as_it_was_given():
    with pytest.raises(tersor.TersorError, match=r"macs=0\.001 is too small.* is 0\.\d+"):
        gated("vib", 0.001)


def test_gates_say_what_they_need():
    options = Compression(methods=("vib",))
    with pytest.raises(tersor.TersorError, match="give its batches with train="):
        compress(macs=0.5, options=options)
    with pytest.raises(tersor.TersorError, match="give macs="):
        compress(parameters=0.5, train=BATCHES, options=options)
    with pytest.raises(tersor.TersorError, match="metric= has no effect with 'vib'"):
        compress(macs=0.5, train=BATCHES, options=options, metric=lambda y, x: 0.0)
    with pytest.raises(tersor.TersorError, match="'vib' and 'l0' are both kinds of gates"):
        Compression(methods=("l0", "vib", "spatial"))


@needs_assets
def test_channels_and_ranks_are_multiples_where_that_is_wanted():
    model = MODELS["resnet20"]
    options = Compression(methods=("spatial", "prune"), multiple=4)
    found = tersor.compress(model.load(), model.example(), macs=0.6, options=options)
    assert 0.55 < found.cost.macs / found.original_cost.macs <= 0.6
    sizes = {layer.name: layer.weight.shape[0] for layer in layers(found.network)}
    assert len([name for name in sizes if name.endswith(".0")]) > 3
    assert {name for name, size in sizes.items() if size % 4} == {"linear"}
    with pytest.raises(tersor.TersorError, match="multiple=0"):
        Compression(multiple=0)


def numbers_of(calls):
    """A clock that counts the weights of calls."""
    return {call: math.prod(call.weight) for call in calls}


@pytest.fixture
def by_size(monkeypatch):
    """Layers take as long as they have weights, and so do files: what share each had is noted.

    No ways are written to a file twice.
    """
    shares, written = [], set()
    hollow = timing.hollow

    def once(counts, ways):
        assert ways not in written
        written.add(ways)
        return hollow(counts, ways)

    def measured(before, after, _):
        shares.append(after.stat().st_size / before.stat().st_size)
        return 1.0, shares[-1]

    monkeypatch.setattr(timing, "shortest_times", measured)
    monkeypatch.setattr(timing, "hollow", once)
    monkeypatch.setattr(trial, "Clock", lambda _: numbers_of)
    return shares


@pytest.mark.parametrize("methods", [("prune",), ("spatial", "prune")])
def test_a_latency_is_approached(by_size, methods):
    found = compress(latency=0.85, data=nets.images(16), options=Compression(methods=methods))
    (record,) = [record for record in found.records if record.step == "time"]
    fits = [share for share in by_size if share <= 0.85 * 1.02]
    assert record.numbers["ratio"] in fits
    assert 0.7 < record.numbers["ratio"] < 0.88
    assert found.cost.macs < found.original_cost.macs


def test_a_latency_out_of_reach(by_size):
    with pytest.raises(tersor.TersorError, match=r"could not reach latency=0\.01"):
        compress(latency=0.01, options=Compression(methods=("prune",)))


@torch.no_grad()
def first_output(network):
    return float(network(nets.images(2))[0, 0])


def test_a_curve_falls_with_the_budget():
    found = tersor.pareto(
        *nets.with_example(),
        macs=(0.5, 0.8),
        data=nets.images(32),
        test=nets.images(16, seed=9),
        score=first_output,
        options=Compression(methods=("spatial",)),
    )
    first, second = found.points
    assert (first.asked, second.asked) == (0.8, 0.5)
    assert second.macs < first.macs <= 0.8
    assert second.sqnr < first.sqnr
    assert first.compressed.cost.macs == first.macs * first.compressed.original_cost.macs
    assert all(point.latency > 0 for point in found.points)
    assert found.score == pytest.approx(first_output(first.compressed.original))
    assert set(found.as_dict()["points"][0]) >= {"macs", "sqnr", "latency", "megabytes"}
    shown = [line for line in str(found).splitlines() if " dB" in line]
    assert [line.split()[0] for line in shown] == [f"{point.macs:.1%}" for point in found.points]
    assert f"{second.sqnr:.1f} dB" in found._repr_html_()


def test_what_a_curve_cannot_show():
    with pytest.raises(tersor.TersorError, match="between 0 and 1"):
        tersor.pareto(*nets.with_example(), macs=(2.0,))
    with pytest.raises(tersor.TersorError, match="trains for one budget at a time"):
        tersor.pareto(*nets.with_example(), options=Compression(methods=("vib",)))


def test_a_budget_that_is_too_small_is_refused_before_others_are_fitted():
    scored = []
    with pytest.raises(tersor.TersorError, match="too small"):
        tersor.pareto(*nets.with_example(), macs=(0.9, 0.001), score=scored.append)
    assert not scored
