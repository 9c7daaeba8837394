"""Measures how long onnxruntime takes for single layers, in a table of times filled on demand.

    time(call) ≈ t(file with n copies of the call side by side) / n

Each copy is followed by a mean, so that nothing large leaves the layout in which onnxruntime
computes convolutions. The mean costs the same before and after a change inside the layer: only
differences of these times count.

What counts is the processor time of one thread, which hardly depends on what else the machine does.
On a machine with five times as much other work as cores, three measurements of the layers of
ResNet-20 differ by 0.7 % (median over layers) from each other; their times with all threads differ
by 50 %, so that the choice of ways was a matter of luck.
"""

import math
from collections.abc import Callable, Iterable
from time import thread_time
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tersor.data.given.feeds import Arrays
from tersor.export.sessions.latency import CALM, in_turns
from tersor.export.sessions.runtime import Runtime
from tersor.files import temporary_folder
from tersor.graph.calls import Call

OnCall = Callable[[int, int], None]
_COPIES = 4
_LARGE = 1 << 22  # numbers in a weight: such a weight fills the caches, and is not copied
_AT_ONCE = 7  # files that are timed in turns
_PASSES = 3
_ROUNDS = 4  # rounds for each file
_OPSET = 21


class Clock:
    """Times of calls on this machine, in one thread.

    A machine is slower now and then, for seconds, and not for all calls alike. So all calls are
    timed several times, each time next to the first of all calls. The timing that counts is the one
    during which that first call was fastest.

    Attributes:
        known: Call → nanoseconds.
    """

    def __init__(self, on_call: OnCall | None = None) -> None:
        """Start with an empty table.

        Args:
            on_call: Called with the number of timings that are done, and the number requested.
        """
        self.known: dict[Call, int] = {}
        self._on_call = on_call
        self._reference: Call | None = None

    def __call__(self, calls: Iterable[Call]) -> dict[Call, int]:
        """Look up the nanoseconds of some calls; unknown ones are timed.

        Args:
            calls: The calls.
        """
        wanted = list(dict.fromkeys(calls))
        new = [call for call in wanted if call not in self.known]
        fastest = dict.fromkeys(new, math.inf)  # the reference, next to each
        done, total = 0, _PASSES * len(new)
        for start in [*range(0, len(new), _AT_ONCE)] * _PASSES:
            some = new[start : start + _AT_ONCE]
            self._reference = self._reference or some[0]
            times = _timed([self._reference, *some])
            for call in some:
                if times[self._reference] < fastest[call]:
                    fastest[call], self.known[call] = times[self._reference], times[call]
            done += len(some)
            if self._on_call is not None:
                self._on_call(done, total)
        return {call: self.known[call] for call in wanted}


def _timed(calls: Iterable[Call]) -> dict[Call, int]:
    """Take the shortest times: any excess is due to other processes."""
    rng, runs = np.random.default_rng(0), list[tuple[Runtime, Arrays]]()
    numbers = {c: 1 if math.prod(c.weight) > _LARGE else _COPIES for c in calls}
    with temporary_folder() as folder:
        for call, copies in numbers.items():
            path = folder / f"{len(runs)}.onnx"
            onnx.save(_file(call, copies, rng), path)
            x = rng.standard_normal(call.input, np.float32)
            runs.append((Runtime(path, config=CALM, threads=1), {"x": x}))
    shortest = map(min, zip(*in_turns(runs, _ROUNDS, thread_time), strict=True))
    pairs = zip(numbers.items(), shortest, strict=True)
    return {call: round(1e9 * seconds / copies) for (call, copies), seconds in pairs}


def _file(call: Call, copies: int, rng: np.random.Generator) -> onnx.ModelProto:
    """Build a file of copies of a call; with equal weights onnxruntime would compute only one."""
    nodes, stored = list[onnx.NodeProto](), list[onnx.TensorProto]()
    for copy in range(copies):
        weight = rng.standard_normal(call.weight, np.float32) / math.prod(call.weight) ** 0.5
        stored.append(numpy_helper.from_array(weight, f"w{copy}"))
        given = ["x", f"w{copy}"]
        if call.has_bias:
            bias = rng.standard_normal(call.outputs, np.float32)
            stored.append(numpy_helper.from_array(bias, f"b{copy}"))
            given.append(f"b{copy}")
        nodes += _nodes(call, given, copy)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, call.input)
    ends = [helper.make_tensor_value_info(f"z{k}", TensorProto.FLOAT, None) for k in range(copies)]
    graph = helper.make_graph(nodes, "copies", [x], ends, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)


def _nodes(call: Call, given: list[str], copy: int) -> list[onnx.NodeProto]:
    y, z = f"y{copy}", f"z{copy}"
    if call.op != "MatMul":
        attributes: dict[str, Any] = dict(call.attributes)
        run = helper.make_node(call.op, given, [y], **attributes)
        return [run, helper.make_node("GlobalAveragePool", [y], [z])]
    product = y if len(given) < 3 else f"m{copy}"
    found = [helper.make_node("MatMul", given[:2], [product])]
    if product != y:
        found.append(helper.make_node("Add", [product, given[2]], [y]))
    return [*found, helper.make_node("ReduceMean", [y], [z], keepdims=1)]
