"""The concrete shape of every value on the example inputs, without computing any of them."""

import contextlib
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from tersor.graph.network import Network


def is_free(size: int | torch.SymInt) -> bool:
    """Whether this axis was free at capture; a symbol may also stand for a single number."""
    return isinstance(size, torch.SymInt) and size.node.maybe_as_int() is None


class _WithoutNumbers(fx.Interpreter):
    """Computes on the device without numbers, faster than fake tensors, and equal calls once."""

    def __init__(self, network: Network) -> None:
        super().__init__(network.module, garbage_collect_values=False)
        self._known: dict[Any, Any] = {}

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> Any:
        return pytree.tree_map(_empty, super().fetch_args_kwargs_from_env(n))

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "call_module":  # a quantizer changes no shape
            return self.env[n.all_input_nodes[0]]
        return super().run_node(n)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        call = target, _key(args), _key(list(kwargs.items()))
        if call not in self._known:
            self._known[call] = super().call_function(target, args, kwargs)
        return self._known[call]


def _empty(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to("meta")
    return torch.device("meta") if isinstance(value, torch.device) else value


def _key(value: Any) -> Any:
    """What the shape of a result depends on."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype
    if isinstance(value, list | tuple):
        return type(value), *map(_key, value)
    return type(value), repr(value)


def shapes(network: Network) -> dict[fx.Node, Any]:
    """Node → shape of its value on the example inputs.

    Values that are not tensors (a batch size, for instance) stand for themselves; lists of
    tensors become lists of shapes.
    """
    with torch.no_grad(), contextlib.suppress(Exception):  # a shape may depend on values
        return _record(network, _WithoutNumbers(network))
    with torch.no_grad():
        return _record(network, fx.Interpreter(network.module, garbage_collect_values=False))


def _record(network: Network, interpreter: fx.Interpreter) -> dict[fx.Node, Any]:
    inputs = pytree.tree_leaves((network.args, network.kwargs))
    interpreter.run(*inputs, enable_io_processing=False)
    seen = {n: interpreter.env[n] for n in network.graph.nodes}
    return pytree.tree_map(lambda x: x.shape if isinstance(x, Tensor) else x, seen)
