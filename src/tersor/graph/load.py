"""Load a model from disk, or from the user's own code, by one string."""

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from tersor.errors import InvalidInputError, InvalidModelError, UnsupportedError


def load(spec: str | Path) -> tuple[nn.Module | ExportedProgram, Any]:
    """A model, and its example inputs where it brings some.

    Args:
        spec: A `.pt2` file that `torch.export.save` wrote, or `module:function`, a function of the
            user's own code that returns a model or a pair `(model, example)`.

    Returns:
        The model, and the example or None.

    Raises:
        InvalidInputError: The file or function does not exist.
        InvalidModelError: The file is damaged, or the function returns no model.
        UnsupportedError: A kind of file that cannot be loaded.
    """
    text = str(spec)
    if ":" in text and not Path(text).exists():
        return _from_code(*text.rsplit(":", 1))
    path = Path(text)
    if path.suffix != ".pt2":
        raise UnsupportedError(
            f"{text!r}: expected a .pt2 file from torch.export.save, or module:function"
        )
    if not path.is_file():
        raise InvalidInputError(f"{text!r}: there is no such file")
    try:
        return torch.export.load(path), None
    except Exception as error:
        raise InvalidModelError(
            f"{text!r} is not a readable torch.export program ({_first_line(error)}); "
            "save it again with torch.export.save"
        ) from error


def _from_code(module_name: str, function_name: str) -> tuple[nn.Module | ExportedProgram, Any]:
    sys.path.insert(0, str(Path.cwd()))
    try:
        result = getattr(importlib.import_module(module_name), function_name)()
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(f"{module_name}:{function_name}: {error}") from error
    finally:
        sys.path.pop(0)
    model, example = result if isinstance(result, tuple) else (result, None)
    if not isinstance(model, nn.Module | ExportedProgram):
        raise InvalidModelError(
            f"{module_name}:{function_name} returned {type(model).__name__}; it must return a "
            "torch.nn.Module, or a pair (model, example)"
        )
    return model, example


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
