"""Limits the range of an activation to what its readers can tell apart.

    x → min(x, b)                 nothing above b
    x → SiLU(x), GELU(x), …       nothing below ℓ, where |f(ℓ)| is a trifle of one step
    x → GELU(x + c), …            nothing below ℓ − max c: a bias that is added by itself

Left of zero these functions soon are zero, but a layer may write values far below: without the cut
most of the integers would stand for what is zero behind the function.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from tersor.core.grid import Grid
from tersor.graph.network import Network
from tersor.graph.nodes import source
from tersor.graph.ops import MOVEMENT
from tersor.quant.range_methods import Range

aten = torch.ops.aten

_FLAT: dict[object, Callable[[Tensor], Tensor]] = {
    aten.silu.default: F.silu,
    aten.gelu.default: F.gelu,
    aten.hardswish.default: F.hardswish,
    aten.mish.default: F.mish,
}
_TRIFLE = 1 / 32  # of a step: what the function of a value that is cut off may be
_STARTS = torch.arange(-3.0, -16.0, -0.25)  # where the functions no longer turn


def cut_by_readers(network: Network, value: fx.Node, ends: Range, grid: Grid) -> Range:
    """Limit a range to the values that the readers of an activation do not take for the same.

    Args:
        network: The network.
        value: The activation.
        ends: Its range.
        grid: The integers that the range is for.
    """
    readers = _readers(value)
    bound = _upper_bound(network, readers)
    if bound is not None:
        return ends[0], torch.minimum(ends[1], bound.to(ends[1]))
    behind = _flat_behind(network, value)
    if behind is not None:
        flat, added = behind
        low = _lower_bound(flat, float(ends[1].max()) + added, grid) - added
        return ends[0].clamp(min=low), ends[1].clamp(min=low)
    return ends


def _readers(value: fx.Node) -> set[fx.Node]:
    """The calls that read a value, with or without a quantizer in between."""
    found = {user for user in value.users if user.op != "call_module"}
    edges = [user for user in value.users if user.op == "call_module"]
    return found.union(*(edge.users for edge in edges))


def _upper_bound(network: Network, readers: set[fx.Node]) -> Tensor | None:
    """The bound of the only reader, if that clips."""
    if {reader.target for reader in readers} != {aten.minimum.default} or len(readers) > 1:
        return None
    (reader,) = readers
    return _largest_stored(network, reader)


def _largest_stored(network: Network, call: fx.Node) -> Tensor | None:
    """The largest number of the stored tensor that a call reads, if it reads one."""
    stored = [source(x) for x in call.all_input_nodes if source(x).op == "get_attr"]
    return network.tensor(stored[0]).detach().max() if stored else None


def _flat_behind(
    network: Network, value: fx.Node
) -> tuple[Callable[[Tensor], Tensor], float] | None:
    """The flat function that is all that is read of a value, and the most that is added before."""
    added = 0.0
    while True:
        readers = _readers(value)
        flat = _flat_function(readers)
        if flat is not None or len(readers) != 1:
            return flat and (flat, added)
        (value,) = readers
        if value.target in MOVEMENT:
            continue
        more = _largest_stored(network, value) if _is_sum(value) else None
        if more is None:
            return None
        added += float(more)


def _is_sum(call: fx.Node) -> bool:
    return call.target is aten.add.Tensor and not call.kwargs  # which could scale one of the two


def _flat_function(readers: set[fx.Node]) -> Callable[[Tensor], Tensor] | None:
    """The function that all readers compute, if it is flat left of zero: x σ(x), for example."""
    targets = {reader.target for reader in readers}
    if len(targets) == 1 and targets <= _FLAT.keys():
        return _FLAT[targets.pop()]
    if targets != {aten.sigmoid.default, aten.mul.Tensor} or len(readers) != 2:
        return None
    gate, product = sorted(readers, key=lambda node: node.target is aten.mul.Tensor)
    sources = {source(x) for x in product.all_input_nodes}
    is_silu = sources == {gate, source(gate.all_input_nodes[0])}
    return F.silu if is_silu else None


def _lower_bound(function: Callable[[Tensor], Tensor], high: float, grid: Grid) -> float:
    """The highest low end below which the function of a value is a trifle of one step.

    Half a step is added, since the grid is moved by as much to hold zero.
    """
    steps = (max(high, 0.0) - _STARTS) / grid.steps
    enough = function(_STARTS).abs() <= _TRIFLE * steps
    at = int(enough.long().argmax())
    return float(_STARTS[at] - steps[at] / 2) if bool(enough.any()) else -torch.inf
