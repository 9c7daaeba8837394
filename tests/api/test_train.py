"""Training: it learns, reproducibly, without touching what it is given, and the file agrees."""

import csv
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import tersor
from tersor import Training
from tersor.errors import InvalidInputError
from tersor.quant.lsq import LSQ
from tersor.quant.placement.place import quantizers
from tersor.training.damping import Damping, Freezing
from tersor.training.objective import Distillation, divergence
from tests.training.setting import (
    Shuffled,
    batches,
    difference,
    inputs,
    labelled,
    noisy_loss,
    quantized,
    short,
    state,
)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A folder for a run that keeps a log."""
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def plain(log):
    """A run without options."""
    return tersor.train(quantized(), batches(), options=short(), folder=log)


def distance(q):
    """KL to the float network, on images that nobody has trained on."""
    x = inputs(64, seed=9)
    with torch.no_grad():
        return float(divergence(q(x), q.original(x), 4.0))


@pytest.mark.parametrize("batchnorm", ["kept", "folded"])
def test_distillation_brings_it_nearer_to_the_float_network(batchnorm):
    q = quantized(bits=2)
    options = short(epochs=40, rate=0.02, quantizer_rate=0.02, batchnorm=batchnorm)
    trained = tersor.train(q, batches(), options=options)
    assert distance(trained) < 0.5 * distance(q)


def test_with_labels():
    q = quantized(bits=2)
    trained = tersor.train(q, labelled(), F.cross_entropy, options=short(epochs=20))
    x = torch.cat([x for x, _ in labelled()])
    y = torch.cat([y for _, y in labelled()])
    with torch.no_grad():
        before, after = (float(F.cross_entropy(net(x), y)) for net in (q, trained))
    assert after < before
    record = trained.records[-1]
    assert record.step == "train"
    assert record.numbers["steps"] == 120


def test_what_is_given_stays_as_it_is():
    q = quantized()
    before, random = state(q), torch.get_rng_state()
    tersor.train(q, Shuffled(), options=short())
    after = state(q)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(module.enabled for _, module in quantizers(q.network))
    assert torch.equal(random, torch.get_rng_state())


def test_the_same_seed_gives_the_same_network_and_another_seed_another():
    first, same, other = (
        tersor.train(quantized(), Shuffled(), options=short(seed=seed)) for seed in (1, 1, 2)
    )
    assert difference(first, same) == 0
    assert difference(first, other) > 0


def test_batches_are_ordered_by_the_seed_whoever_draws_them():
    x = inputs(48, seed=2)
    loader = DataLoader(TensorDataset(x), 8, shuffle=True, generator=torch.Generator())
    first = tersor.train(quantized(), loader, options=short())
    loader.generator.manual_seed(77)
    assert difference(first, tersor.train(quantized(), loader, options=short())) == 0


@pytest.mark.parametrize("configuration", ["auto", 1, 2, 3, 4])
def test_the_file_computes_what_was_trained(configuration, tmp_path):
    options = short(quantizers=LSQ(configuration=configuration, samples=16))
    trained = tersor.train(quantized(), batches(), options=options)
    path = trained.export(tmp_path / "trained.onnx").path
    checked = trained.verify(path, inputs(64, seed=5))
    (exported,) = checked.exported.values()
    assert exported.sqnr > 60


def test_accumulated_batches_are_as_one():
    halves = [half for batch in batches() for half in batch.split(4)]
    one = tersor.train(quantized(), batches(), options=short(batchnorm="folded"))
    two = tersor.train(quantized(), halves, options=short(batchnorm="folded", accumulate=2))
    assert difference(one, two) < 1e-4


def test_an_average_of_the_weights(plain):
    averaged = tersor.train(quantized(), batches(), options=short(ema=0.9))
    assert difference(plain, averaged) > 0


@torch.no_grad()
def distance_from_grid(q):
    """Of the depthwise weights that are not clipped, in steps."""
    module = q.network.module
    quantizer = module.get_submodule("quantizers.3_weight")
    steps = module.get_parameter("3.weight") / quantizer.scale.view(-1, 1, 1, 1)
    steps = steps.clamp(quantizer.grid.qmin, quantizer.grid.qmax)
    return float((steps - steps.round()).square().mean())


def test_damping_pulls_weights_to_the_grid():
    found = []
    for damping in (None, Damping(first=10.0, last=10.0)):
        options = short(epochs=20, batchnorm="folded", damping=damping)
        found.append(distance_from_grid(tersor.train(quantized(), batches(), options=options)))
    assert found[1] < 0.5 * found[0]


@torch.no_grad()
def on_grid(q):
    """How many weights are whole numbers of steps, but for those at the ends."""
    module, found = q.network.module, 0
    for name in ("0", "3", "8"):
        quantizer = module.get_submodule(f"quantizers.{name}_weight")
        weight = module.get_parameter(f"{name}.weight")
        steps = weight / quantizer.scale.view(-1, *[1] * (weight.ndim - 1))
        whole = steps.round()
        inside = (whole > quantizer.grid.qmin) & (whole < quantizer.grid.qmax)
        found += int((inside & ((steps - whole).abs() < 1e-4)).sum())
    return found


def test_weights_that_oscillate_are_frozen(tmp_path):
    options = short(epochs=10, rate=0.05, freezing=Freezing(first=0.02, last=0.001))
    trained = tersor.train(quantized(bits=2), batches(), options=options, folder=tmp_path)
    with (tmp_path / "log.csv").open(newline="") as file:
        shares = [float(row["frozen"]) for row in csv.DictReader(file)]
    assert shares == sorted(shares)  # for good
    assert 0 < shares[-1] < 1
    free = tersor.train(quantized(bits=2), batches(), options=replace(options, freezing=None))
    assert on_grid(free) == 0
    assert on_grid(trained) > 0


@pytest.mark.usefixtures("plain")
def test_a_log(log):
    with (log / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [3, 6, 9, 12]
    assert all(float(row["loss"]) > 0 for row in rows)


def test_tensorboard(tmp_path):
    tersor.train(quantized(), batches(), options=short(tensorboard=True), folder=tmp_path)
    assert list(tmp_path.glob("events.*"))


def test_steps_for_batches_whose_number_is_not_known(plain):
    def stream():
        yield from batches()

    with pytest.raises(InvalidInputError, match=r"Training\(steps"):
        tersor.train(quantized(), stream)
    told = []
    tersor.train(
        quantized(),
        stream,
        options=short(steps=6),
        on_batch=lambda done, total, _: told.append((done, total)),
    )
    assert told[-1] == (6, 6)
    twice = tersor.train(quantized(), stream, options=short(steps=12))  # two epochs
    assert difference(twice, plain) == 0


def test_refusals():
    with pytest.raises(InvalidInputError, match="read only once"):
        tersor.train(quantized(), iter(batches()))
    with pytest.raises(InvalidInputError, match="no batch"):
        tersor.train(quantized(), list)
    with pytest.raises(InvalidInputError, match="needs a folder"):
        tersor.train(quantized(), batches(), options=short(tensorboard=True))
    with pytest.raises(InvalidInputError, match="pairs"):
        tersor.train(quantized(), batches(), F.cross_entropy)
    with pytest.raises(InvalidInputError, match="takes 1 input"):
        tersor.train(quantized(), [(batches()[0],) * 3])
    with pytest.raises(InvalidInputError, match="rate=0"):
        Training(rate=0.0)
    with pytest.raises(InvalidInputError, match="ema=1"):
        Training(ema=1.0)
    with pytest.raises(InvalidInputError, match="epochs=0"):
        Training(epochs=0)


def test_a_loss_that_is_not_finite():
    def broken(outputs, targets):
        return F.cross_entropy(outputs, targets) / 0.0

    with pytest.raises(InvalidInputError, match="loss is nan after 3 batches"):
        tersor.train(quantized(), labelled(), broken, options=short())


def test_logits_and_other_outputs():
    teacher = torch.nn.Identity()
    logits, maps = torch.randn(4, 5), torch.randn(4, 5, 2, 2)
    automatic = Distillation(teacher, 2.0)
    assert automatic(logits, logits + 1) == pytest.approx(0, abs=1e-6)  # softmax
    assert automatic(maps, maps + 1) == pytest.approx(1)
    assert automatic((logits, maps), (logits + 1, maps)) == pytest.approx(1)
    assert Distillation(teacher, 2.0, "mse")(logits, logits + 1) == pytest.approx(1)
    p, q = (torch.softmax(x / 3, 1) for x in (maps[:, :, 0, 0], logits))
    expected = 9 * (p * (p / q).log()).sum(1).mean()
    assert divergence(logits, maps[:, :, 0, 0], 3.0) == pytest.approx(float(expected), rel=1e-4)
    positions = [
        divergence(maps[..., i, j], maps[..., j, i] + 1, 2.0) for i in (0, 1) for j in (0, 1)
    ]
    whole = divergence(maps, maps.mT + 1, 2.0)  # such as of a segmentation
    assert whole == pytest.approx(float(sum(positions)) / 4, rel=1e-4)


def test_a_loss_may_draw_random_numbers():
    runs = [tersor.train(quantized(), labelled(), noisy_loss, options=short()) for _ in range(2)]
    assert difference(*runs) == 0


def test_mixed_precision():
    q = quantized(bits=3)
    trained = tersor.train(q, batches(), options=short(epochs=20, precision="bf16"))
    # It learns, if not as much as in float32 (above): eight bits of mantissa are noise here.
    assert distance(trained) < distance(q)
    assert all(x.dtype != torch.bfloat16 for x in state(trained).values())


def test_each_training_has_its_own_precision():
    """Accelerate keeps the precision of a process; trainings before and after another do not."""
    q = quantized(bits=3)
    full, half, again, own = (
        tersor.train(q, batches(), options=short(precision=precision))
        for precision in (None, "bf16", None, "bf16")
    )
    assert difference(full, again) == 0
    assert difference(half, own) == 0
    assert difference(full, half) > 0
