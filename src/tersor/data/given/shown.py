"""The example that samples show: no other is needed to capture a model when there are data."""

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from tersor.data.given.feeds import Data, batches, split_labels
from tersor.errors import TersorError
from tersor.frontend.capture import captured
from tersor.frontend.dynamic import Dynamic
from tersor.frontend.given import Example, Keywords, split_example
from tersor.frontend.network_module import NetworkModule
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
    if isinstance(model, NetworkModule):
        model = model.network
    has_own = isinstance(model, ExportedProgram) and model.example_inputs is not None
    is_given = example is not None or kwargs is not None or has_own
    if data is not None and not is_given and isinstance(model, nn.Module | ExportedProgram):
        first, data = _first(model, data)
        return _captured_as(model, first, dynamic), data
    return captured(model, example, kwargs, dynamic), data


def _captured_as(
    model: nn.Module | ExportedProgram, batch: Example, dynamic: Dynamic | None
) -> Network:
    """Capture with a few samples of a batch, or with all of them where their number counts."""
    few = _few(model, batch)
    if isinstance(model, OnnxModel):
        model.arrange(*split_example(batch, None))  # an error names the shape that was given
    if few is batch or not isinstance(model, nn.Module) or isinstance(model, OnnxModel):
        return captured(model, few, None, dynamic)
    with contextlib.suppress(TersorError):
        network = captured(model, few, None, dynamic)
        if not network.axes or 0 in network.axes[0]:  # the batch is open
            return network
    return captured(model, batch, None, dynamic)


def _first(model: nn.Module | ExportedProgram, data: Data) -> tuple[Example, Data]:
    """The inputs of the first batch, and the data, from which nothing is missing."""
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
    return pytree.tree_map_only(np.ndarray, _tensor, first), data


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
    if len(lengths) != 1 or 0 in lengths or count in (None, *lengths):
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
