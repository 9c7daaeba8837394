"""Modules that take a number of samples only: the first batch shows it."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tersor
from tersor.data.given.samples import samples
from tersor.data.given.shown import captured_with
from tersor.errors import InvalidInputError
from tests.frontend.onnx.files import model, write


class Flow(nn.Module):
    """One Linear and a forward that is given."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(4, 4)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


FIXED = {
    "a loop": lambda m, x: torch.stack([m.fc(row) for row in x]),
    "a number": lambda m, x: m.fc(x.view(8, 4)),
}
X = torch.rand(24, 4, generator=torch.manual_seed(0))
DATA = {
    "one batch": lambda: X[:8],
    "a list": lambda: list(X.split(8)),
    "arrays": lambda: [np.asarray(part) for part in X.split(8)],
    "a generator": lambda: iter(X.split(8)),
    "a loader": lambda: DataLoader(TensorDataset(X), batch_size=8),
}


@pytest.mark.parametrize("given", DATA)
@pytest.mark.parametrize("kind", FIXED)
def test_the_whole_batch_is_the_example_where_its_number_counts(kind, given):
    network, data = captured_with(Flow(FIXED[kind]), data=DATA[given]())
    assert network.args[0].shape == (8, 4)
    assert "the batch is fixed at 8" in str(network.records)
    batches = [data] if isinstance(data, torch.Tensor) else list(data)
    assert len(batches) == (1 if given == "one batch" else 3)


@pytest.mark.parametrize("kind", FIXED)
def test_such_a_module_is_quantized_with_data(kind, tmp_path):
    """In the loop, each call of the layer sees a single sample without a batch."""
    model, data = Flow(FIXED[kind]).eval(), list(X.split(8))
    q = tersor.quantize(model, data=data)
    q.export(tmp_path / "q.onnx")
    checked = q.verify(tmp_path / "q.onnx", data, latency=False)
    assert checked.sqnr > 40
    assert torch.allclose(q(X[:8]), model(X[:8]), atol=0.05)


def test_few_samples_are_enough_where_the_number_does_not_count():
    network, _ = captured_with(Flow(lambda m, x: m.fc(x)), data=X)
    assert network.args[0].shape == (4, 4)
    assert network.records == []


def test_what_runs_with_no_number_of_samples_says_why():
    with pytest.raises(InvalidInputError, match=r"shapes \[\(8, 4\)\].*x.view\(7, 4\)"):
        captured_with(Flow(lambda m, x: m.fc(x.view(7, 4))), data=X[:8])


PICTURES = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_samples_of_several_sizes_need_open_axes_and_the_message_shows_them():
    data = [torch.rand(4, 3, 8, 8), torch.rand(4, 3, 9, 12)]
    message = (
        r"shape \(4, 3, 9, 12\).*dynamic=\{'input': \{2: 'size_2', 3: 'size_3'\}\}, "
        r"or --dynamic input:2=size_2,3=size_3$"
    )
    with pytest.raises(InvalidInputError, match=message):
        tersor.quantize(PICTURES, data=data)
    axes = {"input": {2: "size_2", 3: "size_3"}}
    q = tersor.quantize(PICTURES, data=data, dynamic=axes)
    assert q.network.axes == ({0: "batch", **axes["input"]},)


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (4, 8, 8, 3), (4, 3, 0, 8), (3, 8, 9)], ids=str)
def test_open_axes_are_no_remedy_for_other_mistakes(shape):
    network, _ = captured_with(PICTURES, data=torch.rand(4, 3, 8, 8))
    with pytest.raises(InvalidInputError) as caught:
        samples(network, torch.rand(shape))
    assert "dynamic" not in str(caught.value)


@pytest.mark.parametrize("kind", ["file", "module"])
def test_an_error_shows_the_shape_that_was_given(kind, tmp_path):
    made = Flow(lambda m, x: m.fc(x)).eval()
    if kind == "file":
        text = "g (float[N, 4] x) => (float[N, 4] y) { y = MatMul(x, w) }"
        made, _ = tersor.load(write(tmp_path, model(text, w=np.ones((4, 4), np.float32))))
    with pytest.raises(InvalidInputError, match=r"shapes? \[?[(\[]8, 5[)\]]"):
        tersor.quantize(made, data=torch.ones(8, 5))
