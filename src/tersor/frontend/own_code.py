"""Finds functions in the user's own code, named `module:function`. This imports and runs code."""

import difflib
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from tersor.errors import InvalidInputError

_SHOWN = 8


def is_function(spec: str) -> bool:
    """Whether a string names a function rather than a file.

    Args:
        spec: The string.
    """
    return ":" in spec and not Path(spec).exists()


def find_function(spec: str) -> Any:
    """Import the function that a string names; modules in the current folder are found, too.

    Args:
        spec: `module:function`.

    Raises:
        InvalidInputError: There is no such module or function, or importing it fails.
    """
    module, _, name = spec.rpartition(":")
    if not module or not name:
        raise InvalidInputError(
            f"{spec!r} names no function; write it as module:function, such as mycode:make"
        )
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
        return getattr(found, name) if hasattr(found, name) else _missing(spec, found, name)
    except InvalidInputError:
        raise
    except ModuleNotFoundError as error:
        if error.name != module:
            raise InvalidInputError(f"{spec}: {in_short(error)}") from error
        raise InvalidInputError(
            f"{spec}: there is neither {module.replace('.', '/')}.py in the current folder nor "
            f"an installed package {module!r}"
        ) from error
    except (Exception, SystemExit) as error:
        raise InvalidInputError(f"{spec}: {in_short(error)}") from error
    finally:
        sys.path.remove(here)


def _missing(spec: str, module: ModuleType, name: str) -> NoReturn:
    """Raise an error that suggests what the user may have meant."""
    known = [x for x in vars(module) if not x.startswith("_") and callable(getattr(module, x))]
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known[:_SHOWN])}"
    raise InvalidInputError(f"{spec}: {module.__name__} has no function {name!r}; {meant}")


def in_short(error: BaseException) -> str:
    """The type and the first line of an error in the user's code."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
