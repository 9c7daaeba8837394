"""The concrete shape of every value, from one run on the example inputs."""

from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from tersor.graph.network import Network


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
    recorder = _Recorder(network.module)
    with torch.no_grad():
        recorder.run(*pytree.tree_leaves((network.args, network.kwargs)), enable_io_processing=False)
    return recorder.seen
