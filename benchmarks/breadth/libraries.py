"""The three libraries, imported one at a time: each is slow to import, or may be missing."""

from collections.abc import Callable
from importlib import import_module

from benchmarks.breadth.candidate import Candidate


def candidates(library: str) -> dict[str, Callable[[], Candidate]]:
    """Name → builder, smallest first.

    Args:
        library: `"torchvision"`, `"timm"` or `"transformers"`.
    """
    return import_module(f"benchmarks.breadth.{library}_models").candidates()
