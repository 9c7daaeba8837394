"""What `import tersor` offers."""

from importlib import import_module
from inspect import isfunction

import pytest

import tersor


def test_every_public_name_is_there():
    assert {"quantize", "train", "compress", "Scheme", "TersorError"} <= set(dir(tersor))
    assert all(callable(getattr(tersor, name)) for name in tersor.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        tersor.nothing  # noqa: B018


@pytest.mark.parametrize("name", ["compress", "train"])
def test_a_folder_does_not_hide_the_function_of_its_name(name):
    folder = import_module(f"tersor.{name}")
    setattr(tersor, name, folder)  # what an import does at its end
    assert isfunction(getattr(tersor, name))
