"""The inputs that a model is captured with: put in order, resized, and run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tersor.frontend.axes import Axes

Example = Any  # a tensor, a tuple of positional inputs, or a mapping of keyword inputs
Keywords = Mapping[str, Example]
Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def split_example(example: Example, kwargs: Keywords | None) -> Inputs:
    """Convert an example to positional and keyword inputs, arrays to tensors.

    Args:
        example: One input tensor, a tuple of positional inputs, or a mapping of keyword inputs.
        kwargs: Keyword inputs, in addition to positional ones.
    """
    if isinstance(example, Mapping):
        args, kwargs = (), {**example, **(kwargs or {})}
    elif example is None:
        args: tuple[Any, ...] = ()
    elif isinstance(example, tuple | list):
        args = tuple(example)
    else:
        args = (example,)
    return pytree.tree_map_only(np.ndarray, torch.from_numpy, (args, dict(kwargs or {})))


def tensors(inputs: Inputs) -> list[Tensor]:
    """The tensors among the inputs, in order.

    Args:
        inputs: Positional and keyword inputs.
    """
    return [x for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor)]


def batch_size(inputs: Inputs) -> int:
    """The first size of the first tensor.

    Args:
        inputs: Positional and keyword inputs.
    """
    return tensors(inputs)[0].shape[0]


def sizes_of(inputs: Inputs, axes: Axes) -> dict[str, int]:
    """The size of each open axis.

    Args:
        inputs: Positional and keyword inputs.
        axes: Their open axes.
    """
    return {
        name: x.shape[axis]
        for x, open_axes in zip(tensors(inputs), axes, strict=True)
        for axis, name in open_axes.items()
    }


def resized(inputs: Inputs, axes: Axes, sizes: Mapping[str, int]) -> Inputs:
    """Copy inputs with other sizes of open axes: cut, or repeated as needed.

    Args:
        inputs: Positional and keyword inputs.
        axes: Their open axes.
        sizes: Name of an axis → its new size; other axes keep theirs.
    """
    left = iter(axes)

    def resize(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        x = x.detach().clone()
        for axis, name in next(left).items():
            if sizes.get(name, x.shape[axis]) != x.shape[axis]:
                index = torch.arange(sizes[name], device=x.device) % x.shape[axis]
                x = x.index_select(axis, index)
        return x

    return pytree.tree_map(resize, inputs)


def run(model: nn.Module, inputs: Inputs) -> Any:
    """Run a model on a copy of the inputs, since it may write to them.

    Args:
        model: The model.
        inputs: Positional and keyword inputs.
    """
    args, kwargs = pytree.tree_map_only(Tensor, lambda x: x.detach().clone(), inputs)
    with torch.no_grad():
        return model(*args, **kwargs)


def failure(model: nn.Module, inputs: Inputs) -> Exception | None:
    """The error that a model raises on inputs, or None.

    Args:
        model: The model.
        inputs: Positional and keyword inputs.
    """
    try:
        run(model, inputs)
    except Exception as error:  # noqa: BLE001
        return error
    return None
