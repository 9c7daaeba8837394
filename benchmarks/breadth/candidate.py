"""An architecture to try: how to build it, and inputs of a given batch size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

#: Sizes of square images that are tried in turn; 0 stands for the architecture's own.
SIZES = (64, 96, 112, 128, 0)

Inputs = dict[str, Tensor] | tuple[Tensor, ...]


@dataclass(frozen=True)
class Candidate:
    """A model with random weights.

    Attributes:
        model: The model.
        inputs: Batch size and generator → random inputs.
    """

    model: nn.Module
    inputs: Callable[[int, torch.Generator], Inputs]


def image_candidate(build: Callable[[int], nn.Module], own_size: int = 224) -> Candidate:
    """The model for the smallest images that it takes.

    Args:
        build: Image size → model.
        own_size: The size that the architecture is made for.

    Raises:
        Exception: What the architecture's own size raises, if that does not run either.
    """
    for size in SIZES:
        size = size or own_size
        try:
            model = build(size).eval()
            with torch.no_grad():
                model(torch.zeros(2, 3, size, size))
        except Exception:
            if size == own_size:
                raise
        else:
            return Candidate(model, tensors((3, size, size)))
    raise AssertionError("the last size is tried or raised")


def tensors(*shapes: tuple[int, ...]) -> Callable[[int, torch.Generator], Inputs]:
    """Standard normal inputs of these shapes, batch axis not counted."""

    def draw(batch: int, generator: torch.Generator) -> Inputs:
        return tuple(torch.randn(batch, *shape, generator=generator) for shape in shapes)

    return draw


def run(model: nn.Module, inputs: Inputs) -> Any:
    """Call a model with positional or keyword inputs."""
    return model(**inputs) if isinstance(inputs, dict) else model(*inputs)
