"""The concrete shape of every value on the example inputs, without computing any of them."""

import contextlib
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from tersor.graph.network import Network


def is_free(size: int | torch.SymInt) -> bool:
    """Whether this axis was free at capture; a symbol may also stand for a single number."""
    return isinstance(size, torch.SymInt) and size.node.maybe_as_int() is None


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self.seen[n] = pytree.tree_map(lambda x: x.shape if isinstance(x, Tensor) else x, result)
        return result


def shapes(network: Network) -> dict[fx.Node, Any]:
    """Node → shape of its value on the example inputs.

    Values that are not tensors (a batch size, for instance) stand for themselves; lists of
    tensors become lists of shapes.
    """
    try:
        return _record(network, FakeTensorMode(allow_non_fake_inputs=True))
    except RuntimeError:  # a shape that depends on values
        return _record(network, contextlib.nullcontext())


def note_shapes(network: Network) -> None:
    """Restore the `meta["val"]` that pickling loses: empty tensors, as large as on the example.

    Args:
        network: Edited in place; only for computing, since free sizes become numbers.
    """
    for node, shape in shapes(network).items():
        if isinstance(shape, torch.Size):
            node.meta.setdefault("val", torch.empty(shape, device="meta"))


def _record(network: Network, mode: Any) -> dict[fx.Node, Any]:
    recorder = _Recorder(network.module)
    inputs = pytree.tree_leaves((network.args, network.kwargs))
    with torch.no_grad(), mode:
        recorder.run(*inputs, enable_io_processing=False)
    return recorder.seen
