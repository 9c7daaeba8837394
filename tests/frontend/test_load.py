"""Models from files and from the user's own code."""

import sys

import pytest
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from tersor.errors import InvalidInputError, InvalidModelError, UnsupportedError
from tersor.frontend.load import load

CODE = """
import torch

def model():
    return torch.nn.Linear(3, 2)

def with_example():
    return model(), torch.zeros(1, 3)

def nothing():
    return 7

def broken():
    return {}["weights"]

number = 3
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A module of the user's in the working directory."""
    (tmp_path / "users_code.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    yield "users_code"
    sys.modules.pop("users_code", None)


def test_a_function_that_returns_a_model(code):
    before = list(sys.path)
    model, example = load(f"{code}:model")
    assert isinstance(model, nn.Linear)
    assert example is None
    assert sys.path == before


def test_a_function_that_brings_an_example(code):
    model, example = load(f"{code}:with_example")
    assert isinstance(model, nn.Linear)
    assert example.shape == (1, 3)


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        ("missing", InvalidInputError, "users_code:missing"),
        ("nothing", InvalidModelError, "returned int"),
        ("broken", InvalidModelError, "failed with KeyError: 'weights'"),
        ("number", InvalidModelError, "TypeError"),
    ],
)
def test_a_function_that_is_no_use(code, function, kind, message):
    with pytest.raises(kind, match=message):
        load(f"{code}:{function}")


def test_a_module_that_does_not_exist():
    with pytest.raises(InvalidInputError, match="no_such_module"):
        load("no_such_module:model")


def test_an_exported_program(tmp_path):
    model, x = nn.Linear(3, 2), torch.randn(2, 3)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: Dim.DYNAMIC},))
    torch.export.save(program, tmp_path / "model.pt2")
    loaded, example = load(tmp_path / "model.pt2")
    assert isinstance(loaded, ExportedProgram)
    assert example is None
    torch.testing.assert_close(loaded.module()(x), model(x))


def test_files_that_are_no_use(tmp_path):
    with pytest.raises(InvalidInputError, match="no such file"):
        load(tmp_path / "missing.pt2")
    with pytest.raises(UnsupportedError, match="weights without their network"):
        load(tmp_path / "model.pth")
    (tmp_path / "damaged.pt2").write_bytes(b"PK not a program")
    with pytest.raises(InvalidModelError, match="not a readable"):
        load(tmp_path / "damaged.pt2")
