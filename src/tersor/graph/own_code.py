"""Functions of the user's own code, named `module:function`. Importing them runs that code."""

import importlib
import sys
from pathlib import Path
from typing import Any

from tersor.errors import InvalidInputError


def is_function(spec: str) -> bool:
    """Whether a string names a function rather than a file.

    Args:
        spec: What the user wrote.
    """
    return ":" in spec and not Path(spec).exists()


def find_function(spec: str) -> Any:
    """What should be a function; modules in the current folder are found, too.

    Args:
        spec: `module:function`.

    Raises:
        InvalidInputError: There is no such module or function, or importing it fails.
    """
    module, name = spec.rsplit(":", 1)
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:
        raise InvalidInputError(f"{spec}: {in_short(error)}") from error
    finally:
        sys.path.remove(here)


def in_short(error: BaseException) -> str:
    """Kind and first line of an error of the user's code."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
