"""Explains why a model could not be captured: the line, what happened, and what to try."""

import contextlib
import io
import logging
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

_TERSOR = str(Path(__file__).parents[1])
_STDLIB = sysconfig.get_path("stdlib")

_DATA_DEPENDENT = (
    "the control flow depends on the values of a tensor. Replace `if` by torch.where, or quantize "
    "the part of the model before this line and call the rest yourself"
)
_FIXED_BATCH = (
    "the model fixes its batch size. Take it from the input, as in x.view(x.shape[0], -1), instead "
    "of writing a number, and do not loop over the batch in Python. If another input only happens "
    "to be as long as the batch, use an example with another batch size"
)
_QUANTIZED = "this line is already quantized; pass the float model instead"


def explain(error: Exception, other_batch: Exception | None = None) -> str:
    """Write one clear message: the line in the user's code, what happened, and what to try.

    Args:
        error: The error that `torch.export` raised.
        other_batch: The error that the model itself raised at another batch size, if any.
    """
    text = str(error)
    if "data-dependent" in text:
        where, advice = error, _DATA_DEPENDENT
    elif "fake_quantize" in text:
        where, advice = error, _QUANTIZED
    elif other_batch is not None or "specialized it to be a constant" in text:
        where, advice = other_batch or error, _FIXED_BATCH
    elif "`dynamic_shapes`" in text or "Must provide a tree_name" in text:
        where, advice = error, "its forward takes **kwargs; give it named arguments"
    else:
        where, advice = error, f"torch.export said: {first_line(error)}"
    return f"the model cannot be captured{line(where)}: {advice}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress what torch prints and logs, since it also raises it."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            # Recurrent layers keep their parameters in a list, too, and detectors their anchors;
            # torch.export restores both.
            warnings.filterwarnings("ignore", r"The tensor attributes? self\.")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def without_deprecations() -> Iterator[None]:
    """Suppress warnings that are not for users: torch and ExecuTorch warn of their own calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def line(error: Exception) -> str:
    """The line of the user's code that failed, as ` at file:line (code)`, or an empty text."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
    if not frames:
        return ""
    return f" at {frames[-1].filename}:{frames[-1].lineno} ({frames[-1].line})"


def _is_users(filename: str) -> bool:
    """Whether a file is the user's own: not torch, Tersor, generated, or the standard library."""
    if filename.startswith((torch.__path__[0], _TERSOR, "<")):
        return False
    return not filename.startswith(_STDLIB) or "site-packages" in filename
