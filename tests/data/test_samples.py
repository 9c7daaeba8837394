"""Data of every form become the same batches; what does not fit is refused at once."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tersor.data.given.samples import fixed_batch, held_back, samples
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x, mask):
        return self.linear(x) * mask


@pytest.fixture(scope="module")
def one():
    return capture(nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval(), torch.zeros(2, 4))


@pytest.fixture(scope="module")
def two():
    return capture(Two().eval(), (torch.zeros(2, 4), torch.zeros(2, 3)))


X = torch.arange(80.0).reshape(20, 4)
LABELS = torch.arange(20)


def joined(batches):
    return torch.cat([args[0] for args, _ in batches])


@pytest.mark.parametrize(
    "data",
    [
        X,
        X.numpy(),
        (X,),
        [X[:7], X[7:]],
        (x for x in X.split(3)),
        DataLoader(TensorDataset(X, LABELS), batch_size=6),
        [(x, y) for x, y in zip(X.split(5), LABELS.split(5), strict=True)],
        [{"input": X, "labels": LABELS}],
        {"input": X},
    ],
    ids=["tensor", "array", "tuple", "list", "generator", "loader", "labels", "keys", "mapping"],
)
def test_every_form_gives_the_same_batches(one, data):
    batches = samples(one, data)
    assert [len(args[0]) for args, _ in batches] == [3] * 6 + [2]
    assert torch.equal(joined(batches), X)
    one(*batches[0][0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float16])
def test_types_that_numpy_lacks_become_float32(one, dtype):
    given = (X / 8 - 5).to(dtype)
    assert torch.equal(joined(samples(one, given)), given.float())


@pytest.mark.parametrize(
    "change",
    [torch.Tensor.to_sparse, lambda x: x.to("meta")],
    ids=["sparse", "meta"],
)
def test_tensors_that_are_no_arrays_are_told(one, change):
    with pytest.raises(InvalidInputError, match=r"has no form as an array.*give a dense tensor"):
        samples(one, change(X))


def test_inputs_by_name_and_by_place(two):
    mask = torch.ones(20, 3)
    for data in ({"mask": mask, "x": X}, (X, mask), [[X, mask, LABELS]]):
        (x, found), _ = samples(two, data)[0]
        assert torch.equal(x, X[:3])
        assert torch.equal(found, mask[:3])


@pytest.mark.parametrize("most", [1, 3, 7, 8, 20, 100])
def test_no_more_samples_than_asked_for(one, most):
    read = []

    def data():
        for x in X.split(4):
            read.append(len(x))
            yield x

    assert torch.equal(joined(samples(one, data(), most)), X[:most])
    assert sum(read) < min(most, 20) + 4


def test_large_batches_are_cut(one):
    batches = samples(one, torch.zeros(300, 4))
    assert max(len(args[0]) for args, _ in batches) == 32


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(5, 3), r"'input' has shape \(5, 3\); the model takes \[any, 4\]"),
        ([], "hold no batch"),
        (torch.zeros(0, 4), "no axis empty"),
        ([X, torch.full((2, 4), torch.nan)], "batch 1 of the data holds NaN"),
        ([X.long()], "is int64; the model takes float32"),
        ([(X, X)], r"takes 1 input\(s\)"),
        (np.array(["a"]), "has shape"),
        (3, "inputs are int"),
    ],
)
def test_what_does_not_fit(one, data, message):
    with pytest.raises(InvalidInputError, match=message):
        samples(one, data)


def test_no_samples_wanted(one):
    with pytest.raises(InvalidInputError, match="samples=0"):
        samples(one, X, 0)


def test_some_batches_are_held_back_but_never_all():
    batches = [((), {})] * 9
    assert held_back(batches, 1 / 8) == 2
    assert held_back(batches, 0.999) == 8
    assert held_back(batches, 0.0) == 0
    assert held_back(batches[:1], 0.5) == 0
    for share in (1.0, -0.1):
        with pytest.raises(InvalidInputError, match="held_back="):
            held_back(batches, share)


def test_a_symbol_for_a_single_number_is_that_batch(monkeypatch):
    """Such a symbol has no hash."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    size = ShapeEnv().create_unbacked_symint()
    torch._check(size == 3)
    monkeypatch.setattr("tersor.data.given.samples._input_shapes", lambda _: [(size, 2)])
    assert fixed_batch(capture(nn.Linear(2, 2), torch.zeros(2, 2))) == 3
