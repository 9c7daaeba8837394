"""Options that change nothing in the file of a scheme are refused, and all others do change it."""

import warnings

import pytest
import torch
from torch import nn

import tersor
from tersor.errors import InvalidInputError, RangeWarning
from tersor.frontend.capture import capture
from tersor.quant.adaround import AdaRound
from tersor.quant.idle_options import range_matters
from tersor.quant.levels import DataFree, WithData
from tersor.quant.range_methods import MSE, Percentile
from tersor.quant.ranges.input_range import guessed_inputs
from tersor.quant.schemes import find_scheme
from tersor.quant.smooth import Smoothing

ROWS, FLOAT, WHOLE = "executorch-dynamic", "onnxruntime-weights", "onnxruntime-cpu"
DATA = torch.rand(32, 12, generator=torch.manual_seed(0))
PICTURES = torch.rand(2, 3, 64, 64, generator=torch.manual_seed(0))


def trained_batchnorm(channels):
    norm = nn.BatchNorm2d(channels)
    norm.running_mean, norm.running_var = torch.randn(channels), torch.rand(channels) + 0.5
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    return norm


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 4)).eval()


class Behind(nn.Module):
    """Linear layers, with a norm between them and the pictures."""

    def __init__(self, norm):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 8, stride=8), norm
        self.linear, self.last = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x):
        x = self.first(x)
        is_last = isinstance(self.norm, nn.LayerNorm)
        x = self.norm(x.mean((2, 3))) if is_last else self.norm(x).mean((2, 3))
        return self.last(self.linear(x).relu())


def behind(norm):
    torch.manual_seed(0)
    return Behind(norm).eval()


NETS = {
    "inputs that a layer reads": (perceptron, DATA[:2], True),
    "a convolution before it": (lambda: behind(nn.Identity()), PICTURES, True),
    "a BatchNorm before it": (lambda: behind(trained_batchnorm(8)), PICTURES, False),
    "a LayerNorm before it": (lambda: behind(nn.LayerNorm(8)), PICTURES, False),
    "a GroupNorm before it": (lambda: behind(nn.GroupNorm(2, 8)), PICTURES, False),
}


def tensors(model, example, scheme, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RangeWarning)
        found = tersor.quantize(model, example, scheme=scheme, tolerance=None, **options)
    return found.network.module.state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("net", NETS)
def test_a_range_is_refused_exactly_where_the_file_would_be_the_same(net):
    make, example, wanted = NETS[net]
    assert range_matters(capture(make(), example), find_scheme(ROWS)) is wanted
    if not wanted:
        with pytest.raises(InvalidInputError, match=r"input_range=\(0, 9\) .*executorch-dynamic"):
            tensors(make(), example, ROWS, input_range=(0, 9))
    # one example or another gives a range, too
    ends = [tensors(make(), example * scale, ROWS) for scale in (1.0, 9.0)]
    assert same(*ends) is not wanted


def test_where_layers_compute_in_float_a_range_is_refused():
    with pytest.raises(InvalidInputError, match=r"input_range='pixels' \(--input-range\) has no"):
        tensors(behind(nn.Identity()), PICTURES, FLOAT, input_range="pixels")
    assert same(*[tensors(perceptron(), DATA * scale, FLOAT) for scale in (1.0, 9.0)])


def test_without_a_correction_of_biases_rows_need_no_range():
    plain = DataFree(correct_bias=False)
    with pytest.raises(InvalidInputError, match="input_range="):
        tensors(perceptron(), DATA, ROWS, input_range=(0, 9), options=plain)
    assert same(*[tensors(perceptron(), DATA * s, ROWS, options=plain) for s in (1.0, 9.0)])


@pytest.mark.parametrize(("scheme", "warns"), [(WHOLE, 1), (ROWS, 0), (FLOAT, 0)])
def test_a_range_that_nothing_needs_is_not_asked_for(scheme, warns):
    model = behind(nn.LayerNorm(8))
    assert guessed_inputs(capture(model, PICTURES))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", RangeWarning)
        q = tersor.quantize(model, PICTURES, scheme=scheme)
    assert len([w for w in told if "input_range" in str(w.message)]) == warns
    assert len([r for r in q.records if "input_range" in str(r)]) == warns
    assert q.assumed is not None
    assert q.assumed.guessed  # so it is verified on pictures of all usual ranges


@pytest.mark.parametrize(("scheme", "count"), [(WHOLE, 1), (ROWS, 0)])
def test_nor_where_the_example_holds_a_single_value(scheme, count):
    q = tersor.quantize(behind(nn.LayerNorm(8)), torch.zeros(2, 3, 16, 16), scheme=scheme)
    assert len([r for r in q.records if "give its range" in str(r)]) == count


IDLE = {
    "activation_range": MSE(),
    "smooth": None,
}
IDLE_IN_FLOAT = {**IDLE, "held_back": 0.5, "rounding": AdaRound(iterations=5)}
REFUSED = [(ROWS, WithData, name, x) for name, x in IDLE.items()]
REFUSED += [(FLOAT, WithData, name, x) for name, x in IDLE_IN_FLOAT.items()]
REFUSED += [(ROWS, WithData, "smooth", Smoothing(least_gain=0.1))]
REFUSED += [(FLOAT, DataFree, "sigmas", 3.0), (FLOAT, DataFree, "correct_bias", False)]


@pytest.mark.parametrize(("scheme", "level", "name", "value"), REFUSED)
def test_options_that_change_nothing(scheme, level, name, value):
    data = DATA if level is WithData else None
    options = level(**{name: value})
    with pytest.raises(InvalidInputError, match=f"^{name}=.* has no effect with '{scheme}'"):
        tersor.quantize(perceptron(), DATA, data=data, scheme=scheme, options=options)


USED = [
    (ROWS, WithData(rounding=None)),
    (ROWS, WithData(weight_range=Percentile(80))),
    (ROWS, WithData(held_back=0.5)),
    (FLOAT, WithData(rounding=None)),
    (FLOAT, WithData(weight_range=Percentile(80))),
]


@pytest.mark.parametrize(("scheme", "options"), USED)
def test_options_that_change_something_are_taken(scheme, options):
    kinds = [tensors(perceptron(), DATA, scheme, data=DATA, options=o) for o in (None, options)]
    assert not same(*kinds)


@pytest.mark.parametrize("bits", [4, 16, {"0": 4}])
@pytest.mark.parametrize("side", ["weights", "activations"])
def test_layers_in_float_have_no_other_bits(side, bits):
    with pytest.raises(InvalidInputError, match=rf"{side}= \(--{side}\) has no .* in 8 bits"):
        tersor.quantize(perceptron(), DATA, scheme=FLOAT, **{side: bits})
    assert same(*[tensors(perceptron(), DATA, FLOAT, **asked) for asked in ({}, {side: 8})])


def test_a_folder_for_layers_that_are_not_rounded(tmp_path):
    with pytest.raises(InvalidInputError, match=r"folder='.*' \(--work\) has no effect"):
        tersor.quantize(perceptron(), DATA, data=DATA, scheme=FLOAT, folder=tmp_path / "work")


def test_a_diagnosis_draws_its_inputs_from_a_range_that_nothing_else_needs():
    found = [
        tersor.diagnose(behind(nn.LayerNorm(8)), PICTURES, scheme=FLOAT, input_range=(0, top))
        for top in (0.5, 90)
    ]
    assert str(found[0]) != str(found[1])


def test_what_pairs_of_8_bit_weights_do_not_allow_is_told():
    """AdaRound and other ranges could let sums of two products overflow; 4 bits cannot."""
    options = WithData(rounding=AdaRound(iterations=5), weight_range=MSE())
    for bits, is_told in ((8, True), (4, False)):
        q = tersor.quantize(perceptron(), DATA, data=DATA, options=options, weights=bits)
        told = [str(record) for record in q.records]
        assert any("weight_range= was not used" in text for text in told) == is_told
        assert any("by the fast solver, since pairs" in text for text in told) == is_told
