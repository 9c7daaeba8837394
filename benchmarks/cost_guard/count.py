"""Counts what a job does: calls of Python, calls of tensor operators, and multiplications."""

import cProfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import SymInt
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

Counts = dict[str, int]
#: Products of integers, which the table of PyTorch does not know → how many numbers each result
#: multiplies, from the arguments.
_INTEGERS: dict[str, Callable[[Sequence[Any]], int]] = {
    "aten._int_mm": lambda args: args[0].shape[1],
    "onednn.qconv2d_pointwise": lambda args: args[3].shape[1:].numel(),
}


class _Operators(TorchDispatchMode):
    """Counts the operators that run inside of it, and their multiplications.

    Attributes:
        calls: The number of operators.
        flops: The number of operations in matrix products and convolutions, two for each
            multiplication. Those of a capture, whose sizes are symbols, and those that are only
            looked at beforehand, on the device meta, are not computed at all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.flops = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        found = func(*args, **kwargs or {})
        self.calls += 1
        packet = func.overloadpacket
        if str(packet) in _INTEGERS:
            self.flops += 2 * found.numel() * _INTEGERS[str(packet)](args)
        elif packet in flop_registry and not getattr(found, "is_meta", False):
            flops = flop_registry[packet](*args, **kwargs or {}, out_val=found)
            self.flops += 0 if isinstance(flops, SymInt) else flops
        return found


def counts(run: Callable[[], object]) -> Counts:
    """Count what a job does. It runs twice: imports and first uses are not its own work.

    Args:
        run: Does the job once.

    Returns:
        What is counted → how often it happened.
    """
    run()
    profile, operators = cProfile.Profile(), _Operators()
    with operators:
        profile.runcall(run)
    return {
        "calls": sum(entry.callcount for entry in profile.getstats()),
        "operators": operators.calls,
        "multiplications": operators.flops // 2,
    }
