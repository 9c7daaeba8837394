"""Inputs that a file can make again from a few numbers: their shapes and ranges."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from tersor.core.projections import uniform
from tersor.data.given.feeds import Arrays
from tersor.export.sessions.runtime import Runtime
from tersor.export.sizes import sized
from tersor.frontend.given import tensors
from tersor.graph.network import Network
from tersor.quant.placement.quantizer import quantizer_at

_PATCH = 4  # times as large in the next of the inputs


@dataclass(frozen=True)
class Drawn:
    """One input.

    Attributes:
        shape: Its sizes.
        low: Its smallest value.
        high: Its largest value.
    """

    shape: tuple[int, ...]
    low: float
    high: float


def drawn_inputs(network: Network) -> list[Drawn]:
    """Choose what to draw: in the range of its quantizer, or else in that of the example.

    Open axes have the sizes of the example, and the batch is 1.

    Args:
        network: The network.
    """
    nodes = network.graph.find_nodes(op="placeholder")
    nodes = [node for node in nodes if isinstance(node.meta.get("val"), Tensor)]
    given = tensors(sized(network, {}).inputs)
    return [
        Drawn(tuple(x.shape), *_range(network, node, x))
        for node, x in zip(nodes, given, strict=True)
    ]


def _range(network: Network, node: fx.Node, example: Tensor) -> tuple[float, float]:
    for reader in node.users:
        module = quantizer_at(network, reader)
        if module is not None and module.enabled and module.scale.numel() == 1:
            ends = torch.tensor([module.grid.qmin, module.grid.qmax])
            low, high = ((ends - module.zero_point.cpu()) * module.scale.cpu()).tolist()
            return low, high
    if not example.numel():
        return 0.0, 0.0
    low, high = (float(x) for x in example.double().aminmax())
    return (low, high) if low < high or not example.is_floating_point() else (-1.0, 1.0)


def draw(inputs: Sequence[Drawn], file: Runtime, number: int) -> Arrays:
    """Make one of the inputs. Each has larger patches of equal values than the one before.

    Args:
        inputs: What is drawn, in the order of the file's inputs.
        file: The file that takes them.
        number: Which.
    """
    pairs = zip(file.dtypes.items(), inputs, strict=True)
    return {
        name: _one(drawn, dtype, _PATCH**number, len(inputs) * number + place)
        for place, ((name, dtype), drawn) in enumerate(pairs)
    }


def _one(drawn: Drawn, dtype: np.dtype, patch: int, seed: int) -> np.ndarray:
    coarse = [-(-size // patch) if axis > 1 else size for axis, size in enumerate(drawn.shape)]
    found = uniform(int(np.prod(coarse)), seed).reshape(coarse)
    for axis in range(2, found.ndim):
        found = found.repeat(patch, axis)
    found = found[tuple(map(slice, drawn.shape))]
    whole = dtype.kind != "f"
    found = drawn.low + found * (drawn.high - drawn.low + whole)
    return np.ascontiguousarray((np.floor(found) if whole else found).astype(dtype))
