"""Opens the batch of a program that was exported for one size of it, if that is exact.

`torch.export` writes a fixed batch into the sizes that `reshape` takes. The first of these is left
to what remains, and the graph is captured again with a free batch. The result is verified: the
outputs for two batches at once must be those of each batch alone.
"""

from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from tersor.frontend.axes import BATCH, FIXED, Axes, with_batch
from tersor.frontend.given import Inputs, batch_size, run, tensors
from tersor.frontend.open_axes import capture_open
from tersor.graph.network import Network, Skipped
from tersor.graph.nodes import argument, set_argument

aten = torch.ops.aten
_RESHAPES = {aten.reshape.default: "shape", aten.view.default: "size"}


def with_open_batch(network: Network) -> Network:
    """Open the batch of a network, or record that it is fixed.

    Args:
        network: A network that takes batches of one size only; it may be changed.
    """
    inputs = network.args, network.kwargs
    opened = _opened(network, inputs)
    if opened is not None and _computes_each_alone(network, opened, inputs):
        return opened
    count = batch_size(inputs)
    nodes = [n for n in network.graph.find_nodes(op="placeholder") if _is_tensor(n)]
    network.records += [
        Skipped(
            node.name,
            FIXED,
            f"the batch is fixed at {count}: the program was exported for it. Export it with "
            "dynamic_shapes={<input>: {0: torch.export.Dim.DYNAMIC}} for any other",
        )
        for node, own in zip(nodes, _batch_axes(inputs), strict=True)
        if own.get(0) == BATCH
    ]
    return network


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


def _opened(network: Network, inputs: Inputs) -> Network | None:
    """The network with a free batch; None if that cannot be captured."""
    freed = network.copy()
    _free_sizes(freed.graph, batch_size(inputs))
    freed.finish()
    axes = _batch_axes(inputs)  # and no other: numbers in the program may go with their sizes
    try:
        opened = capture_open(freed.module, inputs, axes)
    except Exception:  # noqa: BLE001 - then it takes no other batch
        return None
    opened.network.axes = tuple(dict.fromkeys(own, "batch") for own in axes)
    return None if opened.reasons else opened.network


def _batch_axes(inputs: Inputs) -> Axes:
    found = tensors(inputs)
    return with_batch(tuple({} for _ in found), found)


def _free_sizes(graph: fx.Graph, batch: int) -> None:
    """Leave the first size to what remains wherever that can be the batch."""
    for node in graph.nodes:
        if node.target not in _RESHAPES:
            continue
        name = _RESHAPES[node.target]
        before, sizes = node.args[0].meta["val"].shape, argument(node, name)
        holds_batch = all(
            shape and isinstance(shape[0], int) and shape[0] % batch == 0
            for shape in (before, sizes)
        )
        if holds_batch and -1 not in sizes:
            set_argument(node, name, [-1, *sizes[1:]])


def _computes_each_alone(network: Network, opened: Network, inputs: Inputs) -> bool:
    """Whether two batches at once have the outputs of each batch alone."""
    count = batch_size(inputs)
    turned = pytree.tree_map_only(Tensor, lambda x: x.flip(-1) if x.ndim > 1 else x, inputs)

    def join(a: Any, b: Any) -> Any:
        has_batch = isinstance(a, Tensor) and a.ndim > 0 and a.shape[0] == count
        return torch.cat([a, b]) if has_batch else a

    alone = [run(network.module, part) for part in (inputs, turned)]
    wanted = pytree.tree_leaves(pytree.tree_map(join, *alone))
    try:
        found = pytree.tree_leaves(run(opened.module, pytree.tree_map(join, inputs, turned)))
    except Exception:  # noqa: BLE001 - then it takes no such batch
        return False
    return all(map(_is_same, found, wanted))


def _is_same(found: Any, wanted: Any) -> bool:
    if not isinstance(wanted, Tensor):
        return found == wanted
    return found.shape == wanted.shape and torch.allclose(
        found, wanted, rtol=1e-3, atol=1e-4, equal_nan=True
    )
