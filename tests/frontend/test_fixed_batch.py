"""Samples become batches that the network takes: of any number, or of the only one it takes."""

import pytest
import torch
from torch import nn

from tersor.data.given.samples import check_first, fixed_batch, samples
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.frontend.load import load
from tests.frontend.onnx.files import model, write


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    """A file that mixes the samples of a batch takes batches of one size only."""
    text = """g (float[4, 2, 3] x) => (float[4, 2, 3] y) { m = ReduceMean <axes = [0]> (x)
        y = Sub(x, m) }"""
    return capture(load(write(tmp_path_factory.mktemp("fixed"), model(text)))[0])


@pytest.fixture(scope="module")
def free():
    return capture(nn.Sequential(nn.Linear(3, 2)), torch.zeros(2, 3))


def test_a_fixed_batch_is_told(fixed, free):
    assert fixed_batch(fixed) == 4
    assert fixed_batch(free) is None


@pytest.mark.parametrize(("most", "batches"), [(None, 3), (12, 3), (11, 2), (8, 2), (5, 1), (1, 1)])
def test_a_fixed_batch_is_never_cut(fixed, most, batches):
    given = list(torch.arange(72.0).reshape(3, 4, 2, 3))
    found = samples(fixed, given, most)
    assert len(found) == batches
    for (args, _), expected in zip(found, given, strict=False):
        assert torch.equal(args[0], expected)


def test_the_last_batch_is_cut(free):
    given = list(torch.arange(36.0).reshape(3, 4, 3))
    found = samples(free, given, 9)
    joined = torch.cat([args[0] for args, _ in found])
    assert torch.equal(joined, torch.arange(27.0).reshape(9, 3))


def test_only_the_first_batch_is_looked_at(free):
    read = []

    def batches():
        for number in range(3):
            read.append(number)
            yield torch.zeros(2, 3)

    check_first(free, batches())
    assert read == [0]
    with pytest.raises(InvalidInputError, match=r"shape \(2, 4\); the model takes \[any, 3\]"):
        check_first(free, torch.zeros(2, 4))
    with pytest.raises(InvalidInputError, match="NaN"):
        check_first(free, torch.full((2, 3), float("nan")))
