"""What capture refuses, and that each message says what is wrong, where, and what to do."""

import re
import warnings

import pytest
import torch
from torch import nn

import tersor
from tersor.errors import CaptureError, InvalidInputError, InvalidModelError, TersorError
from tersor.frontend.capture import capture


def x(*shape):
    return torch.randn(*(shape or (2, 4)))


class Flow(nn.Module):
    """One Linear and a forward that is given."""

    def __init__(self, function):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.function = function

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


def with_value(value, name="weight"):
    model = nn.Sequential(nn.Linear(4, 4))
    getattr(model[0], name).data.view(-1)[1] = value
    return model


def dynamically_quantized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao.quantization is deprecated
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)))


def with_quantized_buffer():
    model = nn.Sequential(nn.Linear(4, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantized tensors are deprecated
        model.register_buffer("table", torch.quantize_per_tensor(x(4), 0.1, 0, torch.qint8))
    return model


def with_buffer(value):
    model = nn.Sequential(nn.Linear(4, 4))
    model.register_buffer("table", value)
    return model


def without_channels():
    model = nn.Linear(4, 4)
    model.weight = nn.Parameter(torch.empty(0, 4))
    return model


def named(name):
    model = nn.Sequential()
    model.add_module(name, nn.Linear(4, 4))
    return model


def partly(change):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    change(model[2])
    return model


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        return torch.jit.script(nn.Linear(4, 4))


MODELS = {
    "NaN": (lambda: with_value(float("nan")), r"'0.weight' has 1 NaN .* of 16; check the check"),
    "infinite": (lambda: with_value(float("inf"), "bias"), r"'0.bias' has 1 NaN or infinite"),
    "half": (lambda: nn.Linear(4, 4).half(), r"'weight' .*float16.*pass model.float\(\)"),
    "bfloat16": (lambda: nn.Linear(4, 4).bfloat16(), r"'weight' .*bfloat16.*pass model.float\(\)"),
    "complex": (lambda: nn.Linear(4, 4, dtype=torch.complex64), r"'weight' is complex"),
    "meta": (lambda: nn.Linear(4, 4, device="meta"), r"'weight' has no values yet; load"),
    "mixed precision": (lambda: partly(nn.Module.half), r"'2.weight' is in half .*float16"),
    "partly meta": (lambda: partly(lambda m: m.to("meta")), r"'2.weight' has no values yet; load"),
    "lazy": (lambda: nn.LazyLinear(4), r"'weight' has no values yet; load"),
    "quantized modules": (dynamically_quantized, r"'0' is already quantized.*the float model"),
    "quantized buffer": (with_quantized_buffer, r"'table' is already quantized.*qint8"),
    "float8": (lambda: with_buffer(torch.ones(4).to(torch.float8_e5m2)), r"'table' is already"),
    "sparse": (lambda: with_buffer(torch.eye(4).to_sparse()), r"'table' is sparse.*to_dense\(\)"),
    "no channels": (without_channels, r"'weight' has shape \(0, 4\): a layer without"),
    "keyword": (lambda: named("class"), r"cannot hold 'class.weight': rename 'class'"),
    "quote": (lambda: named('a"b'), "rename 'a\"b'"),
    "backslash": (lambda: named("a\\b"), r"rename 'a\\\\b'"),
    "line break": (lambda: named("a\nb"), r"rename 'a\\nb'"),
    "the graph's own name for itself": (lambda: named("self"), "rename 'self'"),
    "name of the graph's own": (lambda: named("meta"), "rename 'meta'"),
    "TorchScript": (scripted, r"TorchScript cannot be captured; pass the nn.Module"),
}


@pytest.mark.parametrize(("make", "message"), MODELS.values(), ids=MODELS)
def test_unfit_model(make, message):
    with pytest.raises(InvalidModelError, match=message):
        capture(make(), x())


def test_a_buffer_may_be_infinite():
    model = Flow(lambda self, x: self.fc(x) + self.mask)
    model.register_buffer("mask", torch.tensor([0.0, float("-inf"), 0.0, float("inf")]))
    assert capture(model, x())(x())[:, 1].isneginf().all()
    model.mask[0] = float("nan")
    with pytest.raises(InvalidModelError, match=r"'mask' has 1 NaN or infinite values of 4"):
        capture(model, x())
    broken = nn.BatchNorm1d(4)
    broken.running_mean[0] = float("inf")
    with pytest.raises(InvalidModelError, match=r"'running_mean' has 1 NaN or infinite"):
        capture(broken, x())


EXAMPLES = {
    "wrong channels": (nn.Conv2d(3, 4, 3), x(1, 1, 8, 8), r"shapes \[\(1, 1, 8, 8\)\].*3 channels"),
    "wrong features": (nn.Linear(4, 4), x(2, 5), r"shapes \[\(2, 5\)\]"),
    "too few axes": (nn.Conv2d(3, 4, 3), x(8), r"shapes \[\(8,\)\]"),
    "batch of zero": (nn.Linear(4, 4), x(0, 4), r"\(0, 4\).*a batch of at least 1"),
    "empty axis": (nn.Conv1d(4, 4, 1), x(1, 4, 0), r"no axis may be empty"),
    "no axis": (nn.Linear(4, 4), torch.tensor(1.0), r"first axis must be a batch"),
    "nothing": (nn.Linear(4, 4), None, r"holds no tensor; pass .* torch.randn"),
    "a number": (nn.Linear(4, 4), 3, r"holds no tensor"),
    "NaN": (nn.Linear(4, 4), x() * float("nan"), r"holds NaN"),
    "meta": (nn.Linear(4, 4), x().to("meta"), r"\(2, 4\) has no values"),
    "complex": (nn.Linear(4, 4), x().to(torch.complex64), r"is complex \(torch.complex64\)"),
    "integers": (nn.Linear(4, 4), torch.ones(2, 4, dtype=torch.long), r"same dtype"),
    "unknown keyword": (nn.Linear(4, 4), {"image": x()}, r"unexpected keyword argument 'image'"),
    "too many": (nn.Linear(4, 4), (x(), x()), r"positional arguments"),
}


@pytest.mark.parametrize(("model", "example", "message"), EXAMPLES.values(), ids=EXAMPLES)
def test_unfit_example(model, example, message):
    with pytest.raises(InvalidInputError, match=message):
        capture(model, example)


def raises(m, x):
    raise RuntimeError("out of cheese")


def makes_nan(m, x):
    return m.fc(x) / 0 * 0


def test_an_error_inside_the_model_names_its_line():
    with pytest.raises(InvalidInputError, match=r"test_refusals.py:\d+ \(raise .*out of cheese"):
        capture(Flow(raises), x())


def test_an_output_of_nan_is_no_basis_for_anything():
    with pytest.raises(InvalidInputError, match="output on the example holds NaN"):
        capture(Flow(makes_nan), x())


def branches_on_values(m, x):
    y = m.fc(x)
    if y.sum() > 0:
        y = -y
    return y


def is_random(m, x):
    return m.fc(x) + torch.randn_like(x)


def counts_its_calls(m, x):
    m.calls = getattr(m, "calls", 0) + 1
    return m.fc(x) * m.calls


def leaves_torch(m, x):
    return m.fc(torch.from_numpy(x.numpy() * 2))


CAPTURES = {
    "branch": (branches_on_values, "if y.sum() > 0:", "depends on the values.*torch.where"),
    "numpy": (leaves_torch, "return m.fc(torch.from_numpy(x.numpy() * 2))", "torch.export said: "),
    "random": (is_random, None, "differs from the model by .*may be random or keep state"),
    "state": (counts_its_calls, None, "may be random or keep state between calls"),
}


@pytest.mark.parametrize(("function", "line", "advice"), CAPTURES.values(), ids=CAPTURES)
def test_what_cannot_be_captured_says_where_and_what_to_try(function, line, advice, capfd):
    with pytest.raises(CaptureError, match=advice) as caught:
        capture(Flow(function), x())
    message = str(caught.value)
    assert "\n" not in message
    if line is not None:
        assert re.search(rf"{re.escape(__file__)}:\d+ \({re.escape(line)}\): ", message)
    assert capfd.readouterr() == ("", "")


def test_keyword_catch_all():
    def takes_anything(m, **options):
        return m.fc(options["a"]) + options["b"]

    class Any(Flow):
        def forward(self, **options):
            return takes_anything(self, **options)

    with pytest.raises(CaptureError, match=r"takes \*\*kwargs; give it named arguments"):
        capture(Any(None), {"a": x(), "b": x()})


def test_a_weight_that_deepcopy_refuses():
    model = nn.Linear(4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old weight_norm is deprecated
        torch.nn.utils.weight_norm(model)
    with pytest.raises(CaptureError, match="remove_weight_norm first"):
        capture(model, x())


def test_all_refusals_are_one_family():
    assert issubclass(CaptureError, TersorError)
    assert issubclass(InvalidModelError, TersorError)
    assert issubclass(InvalidInputError, TersorError)


@pytest.mark.parametrize("model", [nn.Sequential(), nn.Identity(), nn.ReLU()], ids=str)
def test_a_model_without_layers(model):
    with pytest.raises(TersorError, match="there is nothing to quantize: the model has no conv"):
        tersor.quantize(model, x())
