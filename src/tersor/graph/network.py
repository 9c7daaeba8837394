"""The captured network: an ordinary PyTorch module as a graph, and what was done to it.

A `Network` holds an `fx.GraphModule` of ATen calls with the weights as attributes under the user's
own names, the distributions that folded BatchNorms left behind, and one record for everything that
a pass did or refused. Every algorithm in Tersor takes a `Network` and edits its graph.
"""

import contextlib
import copy
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor, fx, nn

from tersor.errors import InvalidModelError
from tersor.graph.nodes import argument, source
from tersor.graph.ops import WEIGHTED
from tersor.graph.origin import Origin


@dataclass(frozen=True)
class Applied:
    """Something a pass did to a layer.

    Attributes:
        layer: Name of the layer or graph node.
        step: The pass, for instance `"fold"`.
        what: One plain sentence.
        numbers: Figures worth printing, by name.
    """

    layer: str
    step: str
    what: str
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """Something a pass refused to do, and why.

    Attributes:
        layer: Name of the layer or graph node.
        step: The pass, for instance `"equalize"`.
        reason: One plain sentence that a user can act on.
    """

    layer: str
    step: str
    reason: str


Record = Applied | Skipped
# Called after each layer with its number, how many there are, and its record.
OnLayer = Callable[[int, int, Record], None]


@dataclass(frozen=True)
class Gaussian:
    """Per-channel mean and standard deviation of a node's output, as a BatchNorm defined them."""

    mean: Float[Tensor, " channels"]
    std: Float[Tensor, " channels"]


@dataclass(repr=False)
class Network:
    """A captured model, ready to be rewritten.

    Attributes:
        module: The graph. It is an ordinary `nn.Module`: call it, train it, save its state dict.
        args: Positional example inputs; the batch is at least 2 if it is free.
        kwargs: Keyword example inputs.
        statistics: Node name → distribution of that node's output, left behind by BatchNorms.
        records: What every pass did or refused, in order.
        input_names: Names of the inputs in exported files, if the model came from a file.
        output_names: Names of the outputs in exported files, if the model came from a file.
        origin: The file itself, if the model came from an ONNX file.
        axes: For each tensor among the inputs, the names of its open axes, where they have names.
            Axes of the same name have the same size.
    """

    module: fx.GraphModule
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    statistics: dict[str, Gaussian] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    origin: Origin | None = None
    axes: tuple[Mapping[int, str], ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph, with the signature and the output structure of the original model."""
        return self.module(*args, **kwargs)

    def __repr__(self) -> str:
        calls = (node for node in self.graph.nodes if node.target in WEIGHTED)
        layers = {source(argument(node, "weight")) for node in calls}
        weights = sum(self.tensor(node).numel() for node in layers if node.op == "get_attr")
        return f"Network({len(layers)} layers, {weights:,} weights, {len(self.records)} records)"

    @property
    def graph(self) -> fx.Graph:
        """The graph of ATen calls."""
        return self.module.graph

    def copy(self) -> "Network":
        """A deep copy: editing one network never touches the other."""
        with quiet_copy():
            return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        buffers = {name for name, _ in self.module.named_buffers()}
        return {
            **self.__dict__,
            "_names": _names(self.graph),
            "_constants": buffers - self.module.state_dict().keys(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Unpickling traces the graph again: it renames the nodes and saves all buffers.
        names, constants = state.pop("_names"), state.pop("_constants")
        self.__dict__.update(state)
        renamed = dict(zip(names, _names(self.graph), strict=True))
        self.statistics = {renamed[name]: value for name, value in self.statistics.items()}
        keep_out_of_state_dict(self.module, constants)

    def nodes(self) -> Iterator[fx.Node]:
        """All nodes in execution order; safe while nodes are added or erased."""
        yield from list(self.graph.nodes)

    def finish(self) -> None:
        """Drop unread nodes, check the graph, and recompile; ends every edit."""
        self.drop_unread()
        self.graph.lint()
        self.module.recompile()

    def drop_unread(self) -> None:
        """Delete nodes and tensors that nothing reads, and modules that have become empty."""
        for node in reversed(list(self.graph.nodes)):
            if not node.users and node.op in ("call_function", "get_attr", "call_module"):
                self.graph.erase_node(node)
        read = {str(n.target) for n in self.graph.nodes if n.op in ("get_attr", "call_module")}
        holding = {path for name in read for path in _paths(name)}
        for name in _tensor_names(self.module):
            if read.isdisjoint(_paths(name)):
                path, _, leaf = name.rpartition(".")
                delattr(self.module.get_submodule(path), leaf)
        for path, module in reversed(list(self.module.named_modules())):
            inside = path in holding or not read.isdisjoint(_paths(path))
            if path and not inside and not module._modules:
                self.module.delete_submodule(path)

    def tensor(self, node: fx.Node) -> Tensor:
        """The tensor behind a `get_attr` node."""
        if node.op != "get_attr":
            raise InvalidModelError(f"node {node.name!r} is computed, not a stored tensor")
        return get_tensor(self.module, str(node.target))

    def replace_tensor(self, node: fx.Node, value: Tensor) -> None:
        """Store a new value behind a `get_attr` node; a parameter stays a parameter."""
        set_tensor(self.module, str(node.target), value)

    def add_tensor(self, name: str, value: Tensor, before: fx.Node) -> fx.Node:
        """Store a new parameter under `name` and return a `get_attr` node for it.

        Args:
            name: Dotted name; a free variant is found if it is taken.
            value: The tensor.
            before: The node before which the value becomes available.
        """
        name = free_name(self.module, name)
        set_tensor(self.module, name, nn.Parameter(value, requires_grad=value.is_floating_point()))
        with self.graph.inserting_before(before):
            node = self.graph.get_attr(name)
        node.meta["val"] = value
        return node


def _tensor_names(module: nn.Module) -> list[str]:
    parameters = module.named_parameters(remove_duplicate=False)
    buffers = module.named_buffers(remove_duplicate=False)
    return [name for name, _ in [*parameters, *buffers]]


def _paths(name: str) -> list[str]:
    """A dotted name, and every module on its path: `a`, `a.b`, `a.b.c`."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _names(graph: fx.Graph) -> list[str]:
    """Names of everything that is computed, in order."""
    return [node.name for node in graph.nodes if node.op != "get_attr"]


def keep_out_of_state_dict(module: nn.Module, buffers: Collection[str]) -> None:
    """Exclude constants and unsaved buffers, so that the user's state dict loads."""
    for name in buffers:
        path, _, leaf = name.rpartition(".")
        module.get_submodule(path)._non_persistent_buffers_set.add(leaf)


@contextlib.contextmanager
def quiet_copy() -> Iterator[None]:
    """Suppress the warnings of torch's own pytree classes when a graph is copied."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec", FutureWarning)
        yield


def get_tensor(module: nn.Module, name: str) -> Tensor:
    """The parameter, buffer or constant called `name` (dotted)."""
    path, _, leaf = name.rpartition(".")
    return getattr(module.get_submodule(path), leaf)


def set_tensor(module: nn.Module, name: str, value: Tensor) -> None:
    """Store `value` under a dotted name, as the kind of tensor that it or the old value was.

    Missing sub-modules on the path are created.
    """
    path, _, leaf = name.rpartition(".")
    owner = module
    for part in path.split(".") if path else ():
        if not hasattr(owner, part):
            owner.add_module(part, nn.Module())
        owner = getattr(owner, part)
    old = getattr(owner, leaf, None)
    if isinstance(old, nn.Parameter) and not isinstance(value, nn.Parameter):
        value = nn.Parameter(value.detach(), requires_grad=old.requires_grad)
    if isinstance(value, nn.Parameter) and leaf in owner._buffers:
        del owner._buffers[leaf]
    if old is None and not isinstance(value, nn.Parameter):
        owner.register_buffer(leaf, value)
    else:
        setattr(owner, leaf, value)


def free_name(module: nn.Module, name: str) -> str:
    """`name`, or `name_2`, `name_3` … if the module already has it.

    Nothing can be stored inside a tensor: next to a parameter `kernel`, `kernel.bias` becomes
    `kernel_bias`.
    """
    path, _, _ = name.rpartition(".")
    if path and not isinstance(_at(module, path, nn.Module()), nn.Module):
        name = name.replace(".", "_")
    candidate, number = name, 2
    while _at(module, candidate, None) is not None:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def _at(module: nn.Module, path: str, default: Any) -> Any:
    """The attribute at a dotted path; the first tensor on the way; or the default."""
    found: Any = module
    for part in path.split("."):
        if not isinstance(found, nn.Module):
            return found
        if not hasattr(found, part):
            return default
        found = getattr(found, part)
    return found
