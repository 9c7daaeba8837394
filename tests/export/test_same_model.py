"""Files that cannot be the same model are refused before anything is compared."""

import pytest
import torch
from torch import nn

import tersor
from tersor.errors import InvalidInputError
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture

MODELS = {
    "other.onnx": (nn.Linear(4, 3), 4),
    "wider.onnx": (nn.Linear(5, 2), 5),
    "float.onnx": (nn.Linear(4, 2), 4),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("files")
    for name, (model, width) in MODELS.items():
        export_onnx(capture(model.eval(), torch.randn(2, width)), path / name)
    return path


@pytest.mark.parametrize(
    ("name", "difference"),
    [("other.onnx", r"outputs are .*, 3\] and .*, 2\]"), ("wider.onnx", r"inputs are .*, 5\] and")],
)
def test_another_model_is_named_as_such(name, difference, folder):
    message = rf"{name}' is not the same model as '.*float\.onnx': their {difference}"
    with pytest.raises(InvalidInputError, match=message):
        tersor.verify(folder / "float.onnx", folder / name)


def test_the_same_model_is_compared(folder):
    found = tersor.verify(folder / "float.onnx", folder / "float.onnx", latency=False)
    assert found.sqnr > 100
