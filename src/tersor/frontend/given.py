"""The inputs that a model is captured with: put in order, resized, and run."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tersor.frontend.axes import Axes
from tersor.frontend.explain import quiet
from tersor.frontend.run_budget import counted

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


def tensor_names(forward: Callable[..., Any], inputs: Inputs) -> list[str]:
    """Name the tensors among the inputs after the arguments of `forward`.

    Keys and positions inside an argument follow after dots.

    Args:
        forward: What is called with the inputs.
        inputs: Positional and keyword inputs.
    """
    arguments = _arguments(inspect.signature(forward))
    positional = [name for _, name in zip(inputs[0], arguments, strict=False)]
    names = []
    for path, value in pytree.tree_flatten_with_path(inputs)[0]:
        where, first, *rest = map(key, path)
        name = positional[int(first)] if where == "0" else first
        if isinstance(value, Tensor):
            names.append(".".join([name, *rest]))
    return names


def _arguments(signature: inspect.Signature) -> Iterator[str]:
    """The names of positional arguments; those of `*args` are `args_0`, `args_1` and so on."""
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            yield from (f"{name}_{number}" for number in count())
        yield name


def key(step: Any) -> str:
    """The name of a step into a nested value: a mapping's key, a position, or an attribute."""
    return str(getattr(step, "key", getattr(step, "idx", getattr(step, "name", step))))


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
    with torch.no_grad(), counted():
        return model(*args, **kwargs)


def failure(model: nn.Module, inputs: Inputs) -> Exception | None:
    """The error that a model raises on inputs, or None.

    Args:
        model: The model.
        inputs: Positional and keyword inputs.
    """
    try:
        with quiet():  # a graph that fails prints its code
            run(model, inputs)
    except Exception as error:  # noqa: BLE001
        return error
    return None
