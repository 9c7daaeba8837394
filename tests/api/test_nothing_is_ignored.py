"""What is asked is done, or refused by name: no option does nothing, no value means nothing."""

import numpy as np
import pytest
import torch
from torch import nn

import tersor
from tersor.compression.chain_fit import Refit
from tersor.compression.gate_training import Gating
from tersor.compression.reconstruct import Reconstruct
from tersor.data.images import Pixels
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.passes.absorb import Absorb
from tersor.passes.equalize import Equalize
from tersor.quant.adaround import AdaRound
from tersor.quant.block_rounding import Blocks
from tersor.quant.fast_rounding import Rounding
from tersor.quant.range_methods import MSE, Entropy, Percentile
from tersor.training.damping import Damping, Freezing

X = torch.rand(16, 3, 6, 6, generator=torch.manual_seed(0))
LSQ, Training, Compression = tersor.LSQ, tersor.Training, tersor.Compression


def net():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(32, 4)).eval()


@pytest.fixture(scope="module")
def captured():
    return capture(net(), X[:2])


@pytest.fixture(scope="module")
def quantized(captured):
    return tersor.quantize(captured)


@pytest.fixture(scope="module")
def compressed(captured):
    return tersor.compress(captured, macs=0.7)


# A class of options → values of its options that cannot be. Each is tried alone.
UNFIT = {
    tersor.DataFree: {
        "sigmas": [0, -1.0, "6"],
        "equalize": ["bogus"],
        "weight_range": ["mse", MSE],
    },
    tersor.WithData: {
        "samples": [0, 1.5],
        "held_back": [1.0, -0.1],
        "rounding": ["fast", Rounding],
        "activation_range": [MSE, None],
    },
    Equalize: {"sweeps": [0], "tolerance": [0.0], "strength": [7, -0.1], "clipped": ["bogus"]},
    Absorb: {"sigmas": [0.0], "borders": ["yes"]},
    AdaRound: {
        "iterations": [0],
        "batch": [0],
        "beta": [(20.0,), (20.0, -1.0)],
        "warm_start": [1.5],
    },
    Blocks: {"iterations": [0], "drop": [1.5], "largest": [0], "start": [AdaRound()]},
    Rounding: {"samples": [-1], "damping": [(0.1, -1.0)], "starts": [(0.0,)], "sweeps": [-1]},
    LSQ: {"weights": ["bogus"], "activations": ["sigma"], "configuration": [9], "samples": [0]},
    Percentile: {"p": [50, 101]},
    MSE: {"candidates": [0]},
    Entropy: {"candidates": [0]},
    Training: {
        "epochs": [0, 2.0, "3"],
        "steps": [0],
        "rate": [0, float("nan"), float("inf")],
        "warm_up": [1.0],
        "ema": [1.0, -0.5],
        "distil": ["bogus"],
        "batchnorm": ["bogus"],
        "precision": ["fp8"],
        "quantizers": [LSQ],
        "damping": [0.1],
    },
    Damping: {"first": [-1.0]},
    Freezing: {"momentum": [2.0], "last": [-0.1]},
    Compression: {
        "methods": ["prune", ["bogus"], []],
        "ratios": [0.5, [1.5], [0.5, 0], []],
        "multiple": [0],
        "rule": ["most loss"],
        "scores": ["bogus"],
        "samples": [0],
        "tried": [0],
    },
    Refit: {"damping": [-1.0], "steps": [-1], "samples": [0]},
    Reconstruct: {"positions": [0], "damping": [-0.1]},
    Gating: {"share": [1.5], "strength": [0.0]},
    Pixels: {"resize": [0], "crop": [-3], "mean": [(0.5, 0.5)]},
}
CASES = [(kind, name, x) for kind, unfit in UNFIT.items() for name, xs in unfit.items() for x in xs]


@pytest.mark.parametrize(("kind", "name", "value"), CASES)
def test_a_value_that_means_nothing(kind, name, value):
    with pytest.raises(InvalidInputError, match=rf"^{kind.__name__}: {name}\b.*(give|choose)"):
        kind(**{name: value})


def test_it_says_what_there_is():
    with pytest.raises(InvalidInputError) as error:
        LSQ(weights="bogus")
    assert str(error.value) == (
        "LSQ: weights='bogus' is not possible: choose from 'keep', 'sigma', 'minmax' or 'mean'"
    )
    with pytest.raises(InvalidInputError) as error:
        tersor.quantize(net(), X, weights="four")
    assert str(error.value) == (
        "quantize: weights='four' is not possible: give an int, a mapping of names to ints or None"
    )
    with pytest.raises(InvalidInputError, match=r"give a list, \['prune'\]"):
        Compression(methods="prune")
    with pytest.raises(InvalidInputError, match="options=<Sequential> is not possible: give Data"):
        tersor.quantize(net(), X, options=net())


def test_what_is_misspelt_stays_an_error_of_python():
    with pytest.raises(TypeError, match="unexpected keyword argument 'weigths'"):
        tersor.quantize(net(), X, weigths=4)
    with pytest.raises(TypeError, match="epoch"):
        Training(epoch=3)


def test_numbers_of_numpy_are_numbers():
    options = Training(epochs=np.int64(3), rate=np.float32(0.5), tensorboard=np.bool_(True))
    assert (options.epochs, options.rate, options.tensorboard) == (3, 0.5, True)
    assert [type(x) for x in (options.epochs, options.rate, options.tensorboard)] == [
        int,
        float,
        bool,
    ]
    assert Compression(ratios=list(np.array([0.5, 0.25]))).ratios == [0.5, 0.25]
    q = tersor.quantize(net(), X[:2], weights={"*": np.int64(4)}, input_range=(0.0, 1.0))
    assert [layer.bits for layer in q.report(None, X, verify=False).layers] == [4, 4, 4]


NOT_USED = {
    "options of a training": (lambda n, q, c: compress(n, training=Training()), "training="),
    "a loss": (lambda n, q, c: compress(n, loss=lambda y, t: y.sum()), "loss="),
    "a metric": (lambda n, q, c: compress(n, metric=lambda y, t: 1.0), "metric="),
    "a metric of a curve": (
        lambda n, q, c: tersor.pareto(n, metric=lambda y, t: 1.0),
        "metric=",
    ),
    "a folder": (lambda n, q, c: tersor.quantize(n, folder="unused"), "folder='unused'"),
    "a folder, and nothing to keep": (
        lambda n, q, c: tersor.quantize(
            n, data=X, folder="unused", options=tersor.WithData(rounding=None)
        ),
        "folder='unused'",
    ),
    "an example of what is captured": (lambda n, q, c: tersor.quantize(n, X), "example="),
    "an example of what is compressed": (lambda n, q, c: compress(c, example=X), "example="),
    "quantizers of a float network": (
        lambda n, q, c: tersor.train(c, [X], options=Training(quantizers=LSQ(whole=True))),
        "quantizers=LSQ",
    ),
    "damping of a float network": (
        lambda n, q, c: compress(n, train=[X], training=Training(damping=Damping())),
        "damping=Damping",
    ),
    "a distance beside a loss": (
        lambda n, q, c: tersor.train(q, [(X, X)], nn.MSELoss(), options=Training(distil="kl")),
        "distil='kl'",
    ),
    "a temperature beside a loss": (
        lambda n, q, c: tersor.train(q, [(X, X)], nn.MSELoss(), options=Training(temperature=2.0)),
        "temperature=2 has no effect",
    ),
    "a temperature of squared errors": (
        lambda n, q, c: tersor.train(q, [X], options=Training(temperature=2.0, distil="mse")),
        "temperature=2 has no effect",
    ),
    "a temperature of a compressed network": (
        lambda n, q, c: tersor.train(c, [X], options=Training(temperature=2.0)),
        "temperature=2 has no effect",
    ),
    "labels of no batches": (lambda n, q, c: tersor.trainable(q, labelled=True), "labelled="),
}


def compress(model, **given):
    return tersor.compress(model, **({"macs": 0.7} | given))


def test_gates_compare_logits_at_a_temperature():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4)).eval()
    options, found = Compression(methods=("vib",)), []
    for temperature in (2.0, 4.0):
        training = Training(steps=4, temperature=temperature)
        given = {"train": [X], "training": training, "options": options}
        found.append(compress(model, example=X[:2], **given)(X))
    assert not torch.equal(*found)


def test_a_temperature_is_for_logits_of_one_axis():
    quantized = tersor.quantize(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), X[:2])
    for temperature, distil in ((4.0, "auto"), (2.0, "kl")):
        options = Training(steps=1, temperature=temperature, distil=distil)
        tersor.train(quantized, [X], options=options)
    with pytest.raises(InvalidInputError, match="does not return one output"):
        tersor.train(quantized, [X], options=Training(temperature=2.0))


@pytest.mark.parametrize("case", NOT_USED)
def test_an_option_that_would_do_nothing(case, captured, quantized, compressed):
    ask, named = NOT_USED[case]
    with pytest.raises(InvalidInputError, match=named):
        ask(captured, quantized, compressed)


def test_results_refuse_as_well(quantized, compressed, tmp_path):
    path = quantized.export(tmp_path / "a.onnx").path
    with pytest.raises(InvalidInputError, match=r"export: storage='int5' .* 'int8' or 'int4'"):
        quantized.export(tmp_path / "b.onnx", storage="int5")
    with pytest.raises(
        InvalidInputError, match=r"verify: runtime='tvm' .* 'onnxruntime', 'openvino"
    ):
        quantized.verify(path, X, runtime="tvm")
    with pytest.raises(InvalidInputError, match="report: samples=0"):
        quantized.report(samples=0)
    with pytest.raises(InvalidInputError, match="latency: rounds=0"):
        compressed.latency(0)
    with pytest.raises(TypeError, match="label"):
        quantized.verify(path, X, label=[1])


def test_the_curve_of_a_training_is_there(compressed):
    options = Training(epochs=2, log_every=1)
    trained = tersor.train(compressed, [X, X], options=options)
    assert [line.step for line in trained.training] == [1, 2, 3, 4]
    again = tersor.train(trained, [X], options=options)
    assert [line.step for line in again.training] == [1, 2, 3, 4, 1, 2]
    report = again.report(None, X, verify=False)
    assert report.training == again.training
    at_once = compress(net(), example=X[:2], train=[X, X], training=options)
    assert [line.step for line in at_once.training] == [1, 2, 3, 4]
