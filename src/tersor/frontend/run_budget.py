"""Bounds what running a file on an example may cost: its stored sizes may ask for any amount.

Every call of PyTorch is counted before it is carried out. With s bytes that are stored and n bytes
of inputs,

    bytes of values at one time ≤ 2³⁰ + 64 (n + s)
    operations                 ≤ 5 · 10¹⁰ + n (s + 2⁸)

since a layer has every weight at most at every place of its input.
"""

import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import traceback
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from tersor.errors import InvalidModelError

_BYTES = 1 << 30
_TIMES = 64
_WORK = 5 * 10**10
_FEW = 1 << 8  # bytes of weights that a file is taken to have at least
_MOVED = 16  # operations take as long as a byte that is written
_SMALL = 1 << 20  # bytes of values that are not counted


@dataclass(frozen=True)
class _Cost:
    """What a call costs: bytes, operations, and the sizes of its results."""

    taken: int = 0
    work: int = 0
    shapes: tuple[list[int], ...] = ()


class RunBudget(TorchDispatchMode):
    """The mode in which the calls of a file are counted.

    Attributes:
        bytes: Bytes of memory that further values may take.
        work: Operations that may still be done.
        refused: What was too much; then nothing is computed any more.
    """

    def __init__(self, given: int, stored: int) -> None:
        """Begin.

        Args:
            given: Bytes of the inputs, at all sizes that are run at the same time.
            stored: Bytes of the stored values.
        """
        super().__init__()
        self.bytes = _BYTES + _TIMES * (given + stored)
        self.work = _WORK + given * (stored + _FEW)
        self.refused = ""
        self._costs: dict[Any, _Cost] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        leaves = pytree.tree_leaves((args, kwargs))
        is_free = func.is_view or func.namespace != "aten"
        if is_free or not all(map(_has_numbers, leaves)):
            return func(*args, **kwargs)
        call = func, *(len(x) if isinstance(x, list) else 0 for x in args), *map(_known, leaves)
        if call not in self._costs:
            self._costs[call] = _cost(func, args, kwargs)
        self._spend(self._costs[call])
        found = func(*args, **kwargs)
        for value in (found,) if isinstance(found, Tensor) else pytree.tree_leaves(found):
            self._hold(value)
        return found

    def _spend(self, cost: _Cost) -> None:
        self.work -= cost.work
        lacks = "memory" if cost.taken > self.bytes else "time" if self.work < 0 else ""
        if lacks and not self.refused:
            name = traceback.get_current_meta().get("custom", {}).get("onnx")
            self.refused = (
                f"{'the program' if name is None else f'ONNX node {name!r}'} computes "
                f"{', '.join(map(str, cost.shapes))} ({cost.taken:,} bytes), which takes too much "
                f"{lacks} for inputs and weights of these sizes; look at the sizes that it stores"
            )
        if self.refused:
            raise InvalidModelError(self.refused)

    def _hold(self, value: object) -> None:
        """Count a value as long as it is there."""
        size = value.nbytes if isinstance(value, Tensor) else 0
        if isinstance(value, Tensor) and size >= _SMALL:
            self.bytes -= size
            weakref.finalize(value.untyped_storage(), self._release, size)

    def _release(self, size: int) -> None:
        self.bytes += size


_budget: ContextVar[RunBudget | None] = ContextVar("budget", default=None)


@contextmanager
def bounded(budget: RunBudget) -> Iterator[None]:
    """Count what runs inside of `counted`, as long as it lasts.

    Args:
        budget: What it may cost.
    """
    before = _budget.set(budget)
    try:
        yield
    finally:
        _budget.reset(before)


def counted() -> AbstractContextManager[object]:
    """In which a file runs on an example; what captures a graph has modes of its own."""
    return _budget.get() or nullcontext()


def _has_numbers(value: Any) -> bool:
    """Whether a value of a call is not one of those that are made while a graph is captured."""
    if isinstance(value, Tensor | torch.device):
        kind = value if isinstance(value, torch.device) else value.device
        return kind.type != "meta" and not isinstance(value, FakeTensor)
    return not isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool)


def _known(value: Any) -> Any:
    """What the cost of a call depends on."""
    if isinstance(value, Tensor):
        return Tensor.size(value), Tensor.stride(value), value.dtype
    return type(value), repr(value)


def _cost(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Cost:
    """Count a call, without its numbers; one that depends on them says itself what is wrong."""
    args, kwargs = pytree.tree_map(_empty, (args, dict(kwargs)))
    try:
        found = func(*args, **kwargs)
        count = flop_registry.get(func.overloadpacket)
        products = 0 if count is None else count(*args, **kwargs, out_val=found)
    except Exception:  # noqa: BLE001
        return _Cost()
    values = [value for value in pytree.tree_leaves(found) if isinstance(value, Tensor)]
    taken = sum(value.nbytes for value in values)
    return _Cost(taken, products + _MOVED * taken, tuple(list(value.shape) for value in values))


def _empty(value: Any) -> Any:
    if isinstance(value, Tensor):
        sizes, steps = Tensor.size(value), Tensor.stride(value)  # those of this example
        return torch.empty_strided(sizes, steps, dtype=value.dtype, device="meta")
    return torch.device("meta") if isinstance(value, torch.device) else value
