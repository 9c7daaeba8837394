"""What is wrong with networks that have one planted fault each, and with a healthy one."""

import json
from dataclasses import replace

import pytest
import torch

import tersor
from tersor.api.diagnosis.findings import Check, Diagnosis
from tersor.api.diagnosis.sanity import not_finite, wrong_in_float, wrong_in_runtime
from tersor.errors import InvalidModelError
from tersor.frontend.capture import capture
from tests.api.patients import LOUD, Logarithm, Spike, healthy, images, loud_weights

EXAMPLE = images(2)
NEAREST = tersor.WithData(rounding=None)


def option(diagnosis, part):
    """The fixes whose option has this part."""
    return [fix for f in diagnosis.findings for fix in f.fixes if part in fix.option]


def test_a_healthy_network_is_called_healthy():
    steps = []
    found = tersor.diagnose(healthy(), EXAMPLE, data=images(), on_step=steps.append)
    assert found.healthy
    assert found.words.startswith("Nothing is wrong: the quantized network, ")
    assert all(check.is_fine for check in found.checks)
    assert [check.name for check in found.checks][:2] == [
        "the captured graph against the model",
        "its float file in onnxruntime against the captured graph",
    ]
    assert not found.culprits  # there was no need to look
    assert "try remedies" not in steps
    assert "Nothing is wrong" in str(found)


def test_what_the_solver_repairs_does_not_look_like_a_fault():
    checks = Check("weights alone, rounded to nearest", 0.1, 0.03), Check("all of it", 0.01, 0.03)
    first, second = Diagnosis(checks).words.splitlines()
    assert first == "Nothing is wrong: all of it, 20.0 dB."
    assert second == (
        "The steps of `quantize` make up for what is bad in the table: weights alone, rounded to "
        "nearest."
    )
    assert len(Diagnosis(checks[1:]).words.splitlines()) == 1


def test_a_channel_of_loud_weights_is_named_and_the_fix_works():
    options = tersor.DataFree(equalize=None)
    chosen = {"scheme": "dfq-paper", "options": options, "input_range": (-4.0, 4.0)}
    found = tersor.diagnose(loud_weights(), EXAMPLE, test=images(), **chosen)
    assert not found.healthy
    culprit = next(c for c in found.culprits if c.side == "weights")
    assert culprit.layer == "0"
    assert f"output channel {LOUD} reaches" in culprit.why[0]
    first = found.findings[0].fixes[0]
    assert first.argument == 'options=DataFree(equalize="auto")'
    assert first.damage < 0.03
    repaired = tersor.DataFree(equalize="auto")
    assert tersor.diagnose(
        loud_weights(), EXAMPLE, test=images(), **{**chosen, "options": repaired}
    ).healthy


@pytest.fixture(scope="module")
def spike():
    plain = replace(NEAREST, smooth=None)
    return tersor.diagnose(Spike(), EXAMPLE, data=images(), options=plain)


def test_an_outlier_of_an_activation_is_moved_into_weights_by_default():
    assert tersor.diagnose(Spike(), EXAMPLE, data=images(), options=NEAREST).healthy


def test_an_outlier_of_an_activation_is_named(spike):
    assert spike.findings[0].what.startswith("The activations lose too much")
    worst = spike.culprits[0]
    assert (worst.layer, worst.side) == ("head", "activations")
    assert f"channel {LOUD} reaches" in worst.why[0]
    damages = [culprit.damage for culprit in spike.culprits]
    assert damages == sorted(damages, reverse=True)
    assert damages[0] > 100 * damages[1]


def test_the_fix_of_an_outlier_has_its_command_and_works(spike):
    (fix,) = option(spike, "--exclude")
    assert fix.option == "--exclude head --exclude add"
    q = tersor.quantize(Spike(), EXAMPLE, data=images(), exclude=["head", "add"])
    with torch.no_grad():
        want, got = Spike()(images()), q(images())
    left = float((want - got).square().sum() / want.square().sum())
    assert left < 0.03
    assert f"{fix.option}: " in spike.words


def test_a_diagnosis_becomes_json(spike):
    found = json.loads(json.dumps(spike.as_dict()))
    assert found["healthy"] is False
    assert found["culprits"][0]["layer"] == "head"
    fixes = [fix for finding in found["findings"] for fix in finding["fixes"] if fix["damage"]]
    assert fixes
    for part in (*found["checks"], *found["culprits"][:3], *fixes):  # what is printed is there
        shown = f"{part['sqnr_db']:.1f} dB" if part["sqnr_db"] < 200 else "equal"
        assert shown in str(spike)
    command = "tersor quantize a.onnx -o b.onnx --exclude head --exclude add"
    assert spike.command("a.onnx", "-o", "b.onnx") == command


def test_few_bits_on_both_sides_are_both_blamed():
    few = {"weights": 2, "activations": 2, "options": NEAREST}
    found = tersor.diagnose(healthy(), EXAMPLE, data=images(), **few)
    assert found.findings[0].what.startswith("The weights and activations lose too much")
    assert {"it has 2 bits"} <= {why for culprit in found.culprits for why in culprit.why}
    both = [f for f in option(found, "--bits") if "--activation-bits" in f.option]
    assert both[0].damage < found.checks[-1].damage


def test_a_float_network_that_computes_nan_is_named_by_its_op():
    found = tersor.diagnose(Logarithm(), EXAMPLE.abs() + 0.1, data=images())
    assert not found.healthy
    assert "computes NaN or infinity, first in 'log'" in found.words
    assert not found.checks


def test_masks_are_no_fault():
    network = capture(healthy(), EXAMPLE)
    assert not_finite(network, [((EXAMPLE,), {})], [torch.tensor([-torch.inf, 1.0])]) is None


def test_weights_that_are_nan_are_refused_by_name():
    model = healthy()
    model[2].weight.data[1] = float("nan")
    with pytest.raises(InvalidModelError, match=r"2\.weight"):
        tersor.diagnose(model, EXAMPLE)


def test_a_graph_that_differs_from_its_model_ends_the_search():
    assert not wrong_in_float([Check("the captured graph against the model", 1e-10, 1e-4)])
    (found,) = wrong_in_float([Check("the captured graph against the model", 0.5, 1e-4)])
    assert "The float network is wrong" in found.what
    assert "3.0 dB" in found.what


def test_kernels_that_saturate_are_told_from_a_wrong_file():
    assert not wrong_in_runtime(exact=1e-3, runtime=2e-3, limit=0.03, pairs=["a"])
    (found,) = wrong_in_runtime(exact=1e-3, runtime=0.2, limit=0.03, pairs=["a", "b"])
    assert "integer kernels" in found.what
    assert found.details == ("sums of two products saturate 16 bits in a, b",)
    assert found.fixes[0].option == "--scheme onnxruntime-cpu"
    (found,) = wrong_in_runtime(exact=0.2, runtime=0.2, limit=0.03, pairs=[])
    assert "exported file" in found.what
