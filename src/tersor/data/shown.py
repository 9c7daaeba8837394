"""The example that samples show: no other is needed to capture a model when there are data."""

import inspect
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from tersor.data.feeds import Data, batches, split_labels
from tersor.frontend.capture import captured
from tersor.frontend.dynamic import Dynamic
from tersor.frontend.given import Example, Keywords
from tersor.frontend.onnx.model import OnnxModel
from tersor.graph.network import Network

_MOST = 4  # samples of an example; capturing runs the model a few times


def captured_with(
    model: nn.Module | ExportedProgram | Network,
    example: Example = None,
    kwargs: Keywords | None = None,
    data: Data = None,
    dynamic: Dynamic | None = None,
) -> tuple[Network, Data]:
    """Capture a model as `captured` does; without an example, the first samples are the example.

    Args:
        model: As for `captured`.
        example: As for `captured`.
        kwargs: As for `captured`.
        data: Samples, or None.
        dynamic: As for `captured`.

    Returns:
        The network, and the data, from which nothing is missing.

    Raises:
        TersorError: As `captured`; or there is no first batch.
    """
    has_own = isinstance(model, ExportedProgram) and model.example_inputs is not None
    is_given = example is not None or kwargs is not None or has_own
    if data is not None and not is_given and isinstance(model, nn.Module | ExportedProgram):
        example, data = first_example(model, data)
    return captured(model, example, kwargs, dynamic), data


def first_example(model: nn.Module | ExportedProgram, data: Data) -> tuple[Example, Data]:
    """Take the first samples as an example.

    Args:
        model: The model that they are for.
        data: One batch or an iterable of batches; see `tersor.data.feeds`.

    Returns:
        The example, and the data, from which nothing is missing.

    Raises:
        InvalidInputError: There is no batch.
    """
    found = batches(data)
    first = next(found)
    if isinstance(data, Iterator):
        data = chain([first], data)
    count = len(model.inputs) if isinstance(model, OnnxModel) else None
    if isinstance(first, tuple | list):
        first = tuple(split_labels(first, count)[0])
    if isinstance(first, tuple) and len(first) == 1 and isinstance(first[0], Mapping):
        first = first[0]
    if isinstance(first, Mapping):
        first = _known(model, first)
    return _few(model, pytree.tree_map_only(np.ndarray, _tensor, first)), data


def _known(model: nn.Module | ExportedProgram, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the items of a batch that are no inputs, such as labels."""
    if isinstance(model, OnnxModel):
        names = {x.name for x in model.inputs}
    elif isinstance(model, nn.Module):
        found = inspect.signature(model.forward).parameters
        if any(x.kind == inspect.Parameter.VAR_KEYWORD for x in found.values()):
            return dict(batch)
        names = set(found)
    else:
        return dict(batch)
    return {name: value for name, value in batch.items() if name in names}


def _tensor(array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.float() if tensor.is_floating_point() else tensor


def _few(model: nn.Module | ExportedProgram, example: Any) -> Any:
    """Keep a few samples, or as many as the model takes, if all inputs have the same number."""
    found = [x for x in pytree.tree_leaves(example) if isinstance(x, Tensor)]
    lengths = {len(x) if x.ndim else 0 for x in found}
    count = _count(model, max(lengths, default=0))
    if len(lengths) != 1 or 0 in lengths or count is None:
        return example
    rows = torch.arange(count) % lengths.pop()
    return pytree.tree_map_only(Tensor, lambda x: x[rows.to(x.device)], example)


def _count(model: nn.Module | ExportedProgram, given: int) -> int | None:
    """The number of samples of an example; None if the first axes are not all the batch."""
    if isinstance(model, OnnxModel):
        if len({x.shape[:1] for x in model.inputs}) != 1:
            return None
        if model.fixed_batch is not None:
            return model.fixed_batch
    return min(given, _MOST)
