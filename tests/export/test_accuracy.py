"""Labels, numbers that are none, and what the JSON says of the table."""

import json
import re

import numpy as np
import pytest
import torch
from torch import nn

import tersor
from tersor.errors import InvalidInputError
from tersor.export.proof.accuracy import accuracy
from tests import nets

X = nets.images(16)


def test_the_share_of_samples():
    predictions = {"a": [np.array([0, 1]), np.array([2])], "b": [np.array([0, 0, 0])]}
    assert accuracy([np.array([0, 1, 1])], predictions, 3) == {"a": 2 / 3, "b": 1 / 3}
    assert accuracy([np.array([0.0, 1.0, 2.0])], predictions, 3)["a"] == 1
    assert accuracy([], predictions, 3) == {}


@pytest.mark.parametrize("wrong", [3, -1, 0.5, float("nan"), "cat"])
def test_labels_that_are_no_classes(wrong):
    labels = np.array([0, 1, wrong])
    with pytest.raises(InvalidInputError, match="is no class: the output has 3, from 0 to 2"):
        accuracy([labels], {"a": [np.array([0, 1, 2])]}, 3)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    path = tmp_path_factory.mktemp("accuracy") / "a.onnx"
    q = tersor.quantize(nets.plain(), X[:2], data=X)
    q.export(path)
    return q, path


@pytest.mark.parametrize("kind", [torch.Tensor, np.ndarray])
def test_values_beyond_the_type_of_the_input(result, kind):
    wide = X.double()
    wide[3, 0, 0, 0] = -1e300
    given = wide if kind is torch.Tensor else wide.numpy()
    q, path = result
    with pytest.raises(InvalidInputError, match=r"'input' holds -1e\+300, .* beyond float32"):
        q.verify(path, given, latency=False)
    with pytest.raises(InvalidInputError, match=r"'input' holds -1e\+300, .* beyond float32"):
        tersor.quantize(nets.plain(), X[:2], data=given)


def test_inputs_that_are_no_numbers(result):
    q, path = result
    holes = X.clone()
    holes[2, 0, 0, 0] = float("nan")
    with pytest.raises(InvalidInputError, match="'input' holds NaN"):
        q.verify(path, holes, latency=False)


class Logarithm(nn.Module):
    """No number for some samples."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x):
        return torch.log(self.linear(x))


def test_outputs_that_are_no_numbers_are_told(tmp_path):
    right = 0.5 + torch.rand(8, 4, generator=torch.Generator().manual_seed(0))
    q = tersor.quantize(Logarithm(), right[:2], data=right)
    path = q.export(tmp_path / "a.onnx").path
    assert not any("NaN" in doubt for doubt in q.verify(path, right, latency=False).doubts)
    wrong = right.clone()
    wrong[:3] *= -1
    checked = q.verify(path, wrong, latency=False)
    told = [doubt for doubt in checked.doubts if "NaN" in doubt]
    assert {sentence.partition(";")[0] for sentence in told} == {
        "output 'output' of the float model holds NaN on 3 samples",
        "output 'output' of the file holds NaN on 3 samples",
    }
    assert checked.verdict.grade != "good"


def leaves(value):
    """Every number and text in plain data."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)
    else:
        yield value


NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")


def is_said(text, numbers):
    """Whether a number that is printed is one of those of the JSON, rounded or in other units."""
    value = float(text.replace(",", ""))
    digits = len(text.partition(".")[2].partition("e")[0])
    scaled = [x * unit for x in numbers for unit in (1, 100, 1e-3, 1e-6, 1e3)]
    scaled += [1 / x for x in numbers if x]
    close = (abs(x - value) <= 0.51 * 10.0**-digits for x in scaled)
    return any(close) or any(f"{x:.3g}" == text for x in numbers)


def test_the_json_has_all_that_the_table_says(result):
    q, path = result
    labels = torch.arange(16) % 5
    metric = lambda a, b: (a - b).abs().mean()  # noqa: E731
    checked = q.verify(path, X, labels=labels, metric=metric, max_metric=0.1)
    found = list(leaves(json.loads(json.dumps(checked.as_dict("a", "b", "c")))))
    numbers = [float(x) for x in found if isinstance(x, int | float) and not isinstance(x, bool)]
    texts = [x for x in found if isinstance(x, str)]
    rows = checked.rows()
    assert {"size", "latency, batch 1", "integer kernels", "metric", "worse than float"} <= dict(
        rows
    ).keys()
    for name, value in rows:
        if value in texts or any(value.startswith(text) for text in texts if len(text) > 8):
            continue
        shown = NUMBER.findall(value.replace("top-1", ""))
        assert shown or value in ("equal", *texts), (name, value)
        for number in shown:
            assert is_said(number, numbers), (name, value, number)
