"""Captures a file with one run: it computes at two sizes of its inputs while it is recorded.

The graph is then run at a third size, and must compute what the file does. Where that does not
work, `torch.export` captures it, and finds out which axes cannot be open.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import sympy
import torch
from torch import Tensor, fx, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo
from torch.utils import _pytree as pytree
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges

from tersor.frontend.axes import Axes, beside
from tersor.frontend.exporting import check_same
from tersor.frontend.functional import tidied
from tersor.frontend.given import Inputs, resized, run, sizes_of
from tersor.frontend.onnx.model import OnnxModel
from tersor.frontend.onnx.recorder import Recorder, at_both
from tersor.frontend.open_axes import Opened, check_rows
from tersor.frontend.run_budget import counted
from tersor.frontend.validate import check_graph
from tersor.graph.network import Network, get_tensor, keep_out_of_state_dict, set_tensor

_STACK = {"L__self__": ("", f"{OnnxModel.__module__}.{OnnxModel.__qualname__}")}


def record_file(model: OnnxModel, inputs: Inputs, axes: Axes) -> Opened | None:
    """Capture a file with all these axes open.

    Args:
        model: The file.
        inputs: Its inputs.
        axes: The axes to open.

    Returns:
        The network; None if it does not work like that.
    """
    sizes = {name: max(2, size) for name, size in sizes_of(inputs, axes).items()}
    inputs = resized(inputs, axes, sizes)
    for second in _second_sizes(sizes):
        try:
            return Opened(_recorded(model, inputs, axes, second), axes)
        except Exception:  # noqa: BLE001, S112 - in the end, `torch.export` says what is wrong
            continue
    return None


def _second_sizes(sizes: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Larger sizes, and if the file does not take them, some that are smaller.

    No two axes have both sizes in common: they could not be told apart.
    """
    for way in (1, -1) if sizes else (1,):
        found, taken = dict[str, int](), set[tuple[int, int]]()
        for number, (name, size) in enumerate(sizes.items()):
            step = abs(beside(size, number) - size)
            other = size + step * (way if number and size > 2 * step else 1)
            while (size, other) in taken:
                other += step
            found[name] = other
            taken.add((size, other))
        yield found


def _recorded(model: OnnxModel, inputs: Inputs, axes: Axes, second: Mapping[str, int]) -> Network:
    other = resized(inputs, axes, second)
    network, *outputs = _record(model, inputs, other, axes)
    check_graph(network.graph)
    check_rows((outputs[0], outputs[1]), inputs, axes, second)
    wanted, sizes = outputs[1], sizes_of(inputs, axes)
    with suppress(Exception):  # the file itself may not take these sizes
        more = resized(
            inputs, axes, {name: _beside(size, sizes[name]) for name, size in second.items()}
        )
        wanted, other = run(model, more), more
    check_same(network, wanted, other)
    return network


def _beside(size: int, other: int) -> int:
    return size + 1 if size - 1 == other else size - 1


def _record(
    model: OnnxModel, inputs: Inputs, other: Inputs, axes: Axes
) -> tuple[Network, Any, Any]:
    """Run a file at two sizes; returns the network, and the outputs at both."""
    graph, notes = fx.Graph(tracer_cls=fx.Tracer), {"nn_module_stack": _STACK}
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    recorder = Recorder(graph, mode, notes, twice=bool(sizes_of(inputs, axes)))
    root = nn.Module()
    for name in model.attributes.values():
        set_tensor(root, name, get_tensor(model, name))
        recorder.store(name, get_tensor(model, name))
    pairs = zip(inputs[0], other[0], _known(inputs, axes, mode), strict=True)
    names = [f"inputs_{number}" for number in range(len(inputs[0]))]
    given = [recorder.give(name, *pair) for name, pair in zip(names, pairs, strict=True)]
    with torch.no_grad(), counted(), enable_python_dispatcher(), recorder:
        found = model(*given)
    graph.output(recorder.result(tuple(pytree.tree_leaves(found))))
    for node, value in recorder.constants.items():
        set_tensor(root, str(node.target), value)
    specs = pytree.tree_structure(inputs), pytree.tree_structure(found)
    graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(names, *specs)))
    module = fx.GraphModule(root, graph)
    keep_out_of_state_dict(module, [str(node.target) for node in recorder.constants])
    return Network(tidied(module), *inputs), *at_both(found)


def _known(inputs: Inputs, axes: Axes, mode: FakeTensorMode) -> list[Tensor]:
    """The inputs without their numbers; an open size is a symbol, the same for the same name."""
    env = mode.shape_env
    assert env is not None
    symbols = {name: _symbol(env, size) for name, size in sizes_of(inputs, axes).items()}
    with mode:
        return [
            torch.empty(
                [symbols[own[axis]] if axis in own else size for axis, size in enumerate(x.shape)],
                dtype=x.dtype,
                device=x.device,
            )
            for x, own in zip(inputs[0], axes, strict=True)
        ]


def _symbol(env: ShapeEnv, size: int) -> Any:
    symbol = sympy.Symbol(f"s{len(env.var_to_range)}", integer=True, positive=True)
    env.add_backed_var_to_val(symbol, size)
    env.var_to_range[symbol] = ValueRanges(2, int_oo)  # its own function also notes where we are
    return env.create_symintnode(symbol, hint=size)
