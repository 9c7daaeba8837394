"""Records what a file computes as a graph, while it runs at two sizes of its inputs at once.

Every call of PyTorch is carried out on both. Sizes that differ are open, and are read in the graph
where the file reads them; the others are numbers.
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch._dispatch.python import no_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import traceback
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from tersor.errors import CaptureError
from tersor.frontend.onnx.open_size import OpenSize

_SYMBOLS = torch.SymInt | torch.SymFloat | torch.SymBool
_BY_VALUE = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class Recorder(ProxyTorchDispatchMode):
    """The mode in which calls are recorded.

    Attributes:
        graph: What was recorded so far.
        constants: Tensors that the calls read and that were not known → their nodes.
    """

    def __init__(
        self, graph: fx.Graph, mode: FakeTensorMode, notes: Mapping[str, Any], twice: bool
    ) -> None:
        """Begin.

        Args:
            graph: An empty graph.
            mode: In which the values in `meta["val"]` are made.
            notes: What the `meta` of every call holds.
            twice: Whether there are two sizes.
        """
        TorchDispatchMode.__init__(self, torch._C.DispatchKey.PreDispatch)
        self._mode_key = torch._C._TorchDispatchModeKey.PROXY
        self.enter_stack = []
        self.graph, self.constants = graph, dict[fx.Node, Tensor]()
        self._mode, self._notes, self._twice = mode, notes, twice
        self._stored: dict[int, fx.Node] = {}
        self._inputs: dict[tuple[int, int], tuple[fx.Node, int]] = {}
        self._open: dict[tuple[fx.Node, int], torch.SymInt] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else every call asks PyTorch's compiler, which takes a second to load

    def store(self, name: str, value: Tensor) -> fx.Node:
        """Make a node for a stored tensor, which is kept by whoever gives it.

        Args:
            name: Its name in the module.
            value: The tensor.
        """
        node = self._stored[id(value)] = self.graph.get_attr(name)
        node.meta = {**self._notes, "val": self._known(value)}
        return node

    def give(self, name: str, first: Tensor, second: Tensor, known: Tensor) -> Tensor:
        """Make an input; sizes that differ are open wherever they occur later.

        Args:
            name: Its name.
            first: Its value.
            second: Its value at the other sizes.
            known: What `meta["val"]` is.
        """
        node = self.graph.placeholder(name)
        node.meta = {**self._notes, "val": known}
        for axis, pair in enumerate(zip(first.shape, second.shape, strict=True)):
            self._inputs.setdefault(pair, (node, axis))
        return self._both(node, first, second)

    def result(self, outputs: Any) -> Any:
        """The nodes behind a tensor, or a tuple of them."""
        return self._mapped(outputs, self._node)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        with no_python_dispatcher():
            return self._call(func, args, kwargs or {})

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._is_of_constants((*args, *kwargs.values())):
            return func(*args, **kwargs)
        if func._schema.is_mutable or not _BY_VALUE.isdisjoint(func.tags):
            raise CaptureError(f"{func} cannot be recorded")
        node = self.graph.create_node(
            "call_function",
            func,
            self._mapped(args, self._node),
            self._mapped(kwargs, self._node),
            func.overloadpacket.__name__,
        )
        node.meta = self._noted()
        first = func(*self._mapped(args, _first), **self._mapped(kwargs, _first))
        if not self._twice:
            return self._results(node, first, first)
        second = func(*self._mapped(args, _second), **self._mapped(kwargs, _second))
        return self._results(node, first, second)

    def _is_of_constants(self, args: Iterable[Any]) -> bool:
        """Whether a call reads tensors, and none that the file stores or computes."""
        values = pytree.tree_leaves(args)
        found = [x for x in values if isinstance(x, Tensor)]
        others = (isinstance(x, _Recorded | _SYMBOLS) or id(x) in self._stored for x in values)
        return bool(found) and not any(others)

    def _noted(self) -> dict[str, Any]:
        return {**self._notes, "custom": traceback.get_current_meta().get("custom", {})}

    def _results(self, node: fx.Node, first: Any, second: Any) -> Any:
        if isinstance(first, Tensor):
            node.meta["val"] = self._known(first)
            return self._both(node, first, second)
        if not isinstance(first, list | tuple) or len(first) != len(second):
            raise CaptureError(f"{node.target} returns something other than tensors")
        node.meta["val"] = [self._known(part) for part in first]
        results = []
        for number, pair in enumerate(zip(first, second, strict=True)):
            part = self.graph.call_function(operator.getitem, (node, number))
            part.meta = self._noted()
            results.append(self._results(part, *pair))
        return type(first)(results)

    def _both(self, node: fx.Node, first: Tensor, second: Tensor) -> Tensor:
        if first.dtype != second.dtype or first.ndim != second.ndim:
            raise CaptureError(f"{node.target} returns other values at another size")
        found = first.as_subclass(_Recorded)
        found.node, found.second, found.recorder = node, second, self
        return found

    def sizes(self, x: "_Recorded") -> torch.Size:
        """The sizes of a value; one that is as large as an open size of an input is that."""
        pairs = zip(Tensor.size(x), x.second.shape, strict=True)
        found: list[Any] = [
            a if a == b else self._size(x.node, axis, (a, b)) for axis, (a, b) in enumerate(pairs)
        ]
        return torch.Size(found)

    def _size(self, node: fx.Node, axis: int, pair: tuple[int, int]) -> torch.SymInt:
        place = self._inputs.get(pair, (node, axis))
        if place not in self._open:
            read = torch.ops.aten.sym_size.int, *place
            self._open[place] = torch.SymInt(OpenSize(pair, self._make, read))
        return self._open[place]

    def _make(self, function: Callable[..., Any], args: list[Any], value: Any) -> fx.Node:
        node = self.graph.call_function(function, tuple(args))
        is_input = any(isinstance(x, fx.Node) and x.op == "placeholder" for x in args)
        node.meta = {**(self._notes if is_input else self._noted()), "val": value}
        return node

    def _node(self, value: Any) -> Any:
        if isinstance(value, _Recorded):
            return value.node
        if isinstance(value, Tensor):
            if id(value) not in self._stored:
                name = f"lifted_tensor_{len(self.constants)}"
                self.constants[self.store(name, value)] = value
            return self._stored[id(value)]
        return value.node.node if isinstance(value, _SYMBOLS) else value

    def _known(self, x: Any) -> Tensor:
        """A tensor without its numbers, as large as in the example."""
        if not isinstance(x, Tensor):
            raise CaptureError("a call returns something other than tensors")
        like = torch.empty(Tensor.size(x), dtype=x.dtype, device="meta")
        return FakeTensor(self._mode, like, x.device)

    def _mapped(self, value: Any, change: Callable[[Any], Any]) -> Any:
        if isinstance(value, list | tuple):
            return type(value)([self._mapped(part, change) for part in value])
        if isinstance(value, dict):
            return {key: self._mapped(part, change) for key, part in value.items()}
        return change(value)


class _Recorded(Tensor):
    """A value, with the node that computes it and its value at the other sizes.

    Attributes:
        node: The node.
        second: The value at the other sizes.
        recorder: Who recorded it.
    """

    node: fx.Node
    second: Tensor
    recorder: Recorder

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @property
    def shape(self) -> torch.Size:  # type: ignore[override]
        """Its sizes, of which some may be open."""
        return self.recorder.sizes(self)

    def size(self, dim: int | None = None) -> Any:  # type: ignore[override]
        """Its sizes, or one of them."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> Any:
        """How many numbers it has."""
        count: Any = 1
        for size in self.shape:
            count = size * count
        return count

    def __len__(self) -> int:
        """The first size, which cannot be open."""
        return int(self.shape[0])

    def _refuse(self, *_: object, **__: object) -> Any:
        raise CaptureError("the computation depends on values")

    numpy = tolist = item = __array__ = _refuse


def _first(value: Any) -> Any:
    return value.node.values[0] if isinstance(value, _SYMBOLS) else value


def _second(value: Any) -> Any:
    if isinstance(value, _Recorded):
        return value.second
    return value.node.values[1] if isinstance(value, _SYMBOLS) else value


def at_both(outputs: Any) -> tuple[Any, Any]:
    """What was recorded, as plain tensors: at the first sizes, and at the second ones.

    Args:
        outputs: Tensors, after they were computed in the mode of a recorder.
    """
    firsts = pytree.tree_map_only(_Recorded, lambda x: x.as_subclass(Tensor), outputs)
    return firsts, pytree.tree_map(_second, outputs)
