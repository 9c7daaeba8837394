"""A model may take its tensors inside tuples and mappings; they are counted one by one."""

import pytest
import torch
from torch import nn

import tersor
from tersor.data.given.feeds import in_order, split_labels
from tersor.data.given.sample_rows import sample_counts
from tersor.data.given.samples import samples
from tersor.data.runs.room import values_fit
from tersor.data.walk.observe import samples_of
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture

A, B = torch.arange(24.0).reshape(8, 3), torch.arange(8.0, 48.0).reshape(8, 5)
LABELS = torch.arange(8)


class Pair(nn.Module):
    """Takes one argument: a pair, or a mapping with the keys `a` and `b`."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(5, 4)

    def forward(self, both):
        a, b = (both["a"], both["b"]) if isinstance(both, dict) else both
        return self.first(a).relu() + self.second(b).relu()


@pytest.fixture(scope="module")
def pair():
    return capture(Pair().eval(), ((A, B),))


@pytest.fixture(scope="module")
def keyed():
    return capture(Pair().eval(), ({"a": A, "b": B},))


@pytest.mark.parametrize(
    "batch",
    [((A, B),), ([A, B],), ((A, B), LABELS), [(A, B), LABELS], (A, B), (A, B, LABELS)],
    ids=["nested", "a list in it", "labels", "as a list", "flat", "flat with labels"],
)
def test_a_pair(pair, batch):
    ((first, second),), _ = _joined(samples(pair, [batch]))
    assert torch.equal(first, A)
    assert torch.equal(second, B)


@pytest.mark.parametrize(
    "batch",
    [({"a": A, "b": B},), ({"b": B, "a": A},), {"b": B, "a": A}, ({"b": B, "a": A}, LABELS)],
    ids=["nested", "another order", "by itself", "labels"],
)
def test_a_mapping_in_any_order(keyed, batch):
    (found,), _ = _joined(samples(keyed, [batch]))
    assert torch.equal(found["a"], A)
    assert torch.equal(found["b"], B)


def test_samples_inside_are_counted(pair):
    batches = [(((A[:5], B[:5]),), {}), (((A[5:], B[5:]),), {})]
    assert [samples_of(batch) for batch in batches] == sample_counts(batches) == [5, 3]
    assert values_fit(pair, batches, 10**6)
    assert not values_fit(pair, batches * 1000, 10**6)


def _joined(batches):
    """One batch of all of them."""
    leaves = [torch.utils._pytree.tree_flatten(batch) for batch in batches]
    parts = zip(*(values for values, _ in leaves), strict=True)
    return torch.utils._pytree.tree_unflatten([torch.cat(part) for part in parts], leaves[0][1])


def test_labels_of_nested_inputs():
    assert split_labels(((A, B), LABELS), 2)[1].tolist() == LABELS.tolist()
    assert split_labels(((A, B), LABELS), 1)[1] is None
    assert split_labels((A, LABELS), 2)[1] is None  # the second input
    assert split_labels((A, LABELS), 1)[1].tolist() == LABELS.tolist()
    assert split_labels((LABELS,), 0)[1] is None


def test_names_decide_where_there_are_some():
    assert in_order(({"b": 2, "a": 1}, 3), ["x.a", "x.b", "y"]) == [1, 2, 3]
    assert in_order({"y": 3, "x": 1, "z": 4}, ["x", "y"]) == [1, 3]
    assert in_order((1, (2, 3)), ["input.1", "input.2", "mask"]) == [1, 2, 3]  # names of a file


def test_an_input_that_is_missing_is_told(pair):
    with pytest.raises(InvalidInputError, match=r"the model takes 2 input\(s\)"):
        samples(pair, [((A,),)])


def test_from_samples_to_the_file(tmp_path):
    """Quantized, trained and verified with labels behind nested inputs."""
    batches = [({"b": B, "a": A}, LABELS % 4)]
    q = tersor.quantize(Pair().eval(), ({"a": A, "b": B},), data=batches)
    trained = tersor.train(q, batches, options=tersor.Training(epochs=1))
    trained.export(tmp_path / "pair.onnx")
    found = trained.verify(tmp_path / "pair.onnx", batches, latency=False)
    assert found.samples == len(A)
    assert set(found.accuracy) == {"float", "simulation", "exact", "runtime"}
    assert found.sqnr > 40
