"""timm: the smallest member of every family, and further ones."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
from torch import nn

from benchmarks.breadth.candidate import Candidate, image_candidate

#: The smallest member of each family, smallest first; further small members; the large families.
NAMES = Path(__file__).with_suffix(".txt").read_text().split()

#: Families of large members alone, with fewer blocks of the same kind.
_SHORTER = {
    name: {"depth": 4} for name in NAMES if name.startswith(("qwen3", "gemma4", "deepseek"))
}


def candidates() -> dict[str, Callable[[], Candidate]]:
    """Name → builder, smallest first."""
    return {name: partial(_build, name) for name in NAMES}


def _build(name: str) -> Candidate:
    config = timm.get_pretrained_cfg(name)
    assert config is not None
    own_size = config.input_size[-1]
    return image_candidate(partial(_make, name), own_size)


def _make(name: str, size: int) -> nn.Module:
    """With position tables of this image size, if the architecture has any."""
    kwargs: dict[str, Any] = {"num_classes": 10, **_SHORTER.get(name, {})}
    try:
        return timm.create_model(name, img_size=size, **kwargs)
    except TypeError:
        return timm.create_model(name, **kwargs)
