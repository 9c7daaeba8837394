"""A part of an ONNX file that has no ATen form, as one call in the graph.

It is carried over: onnxruntime computes it on the CPU, and it is written back as it was. Nothing
else is known about it, so every pass treats it as an op that it does not know.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor, fx

from tersor.errors import UnsupportedError
from tersor.graph.carried_model import decode, describe, op_name, run
from tersor.graph.carried_shapes import Shape, infer
from tersor.graph.network import Network
from tersor.graph.nodes import source

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16})


@torch.library.custom_op("tersor::carried", mutates_args=())
def carried_op(inputs: Sequence[Tensor], model: str) -> list[Tensor]:
    """Compute a part of an ONNX file in onnxruntime.

    Args:
        inputs: The values that it reads, in the order of the part's inputs.
        model: The part, as text: see `tersor.graph.carried_model`.
    """
    arrays = [x.detach().cpu().contiguous().numpy() for x in inputs]
    device = inputs[0].device if inputs else torch.device("cpu")
    return [torch.from_numpy(np.array(array)).to(device) for array in run(model, arrays)]


@carried_op.register_fake
def _(inputs: Sequence[Tensor], model: str) -> list[Tensor]:
    sizes: dict[str, torch.SymInt] = {}
    shapes = tuple(_named(x.shape, sizes) for x in inputs)
    hints = tuple((name, _hint(size)) for name, size in sizes.items())
    like = inputs[0] if inputs else torch.empty(())
    found = []
    for dtype, shape in infer(model, shapes, hints):
        dims = [_size(size, sizes) for size in shape]
        found.append(like.new_empty(dims, dtype=getattr(torch, dtype)))
    return found


def _named(shape: Sequence[int | torch.SymInt], sizes: dict[str, torch.SymInt]) -> Shape:
    """Replace free sizes by names; equal ones by the same."""
    named: list[int | str | None] = []
    for size in shape:
        if not isinstance(size, torch.SymInt):
            named.append(size)
            continue
        expression = str(size.node.expr)
        known = [name for name, other in sizes.items() if str(other.node.expr) == expression]
        name = known[0] if known else f"d{len(sizes)}"
        sizes[name] = size
        named.append(name)
    return tuple(named)


def _hint(size: torch.SymInt) -> int:
    """The size in the example; 2 if it depends on values."""
    return size.node.hint if size.node.has_hint() else 2


def _size(size: int | str | None, sizes: dict[str, torch.SymInt]) -> int | torch.SymInt:
    if isinstance(size, str):
        return sizes[size]
    return torch.library.get_ctx().new_dynamic_size() if size is None else size


def _setup(ctx: torch.autograd.function.FunctionCtx, inputs: object, output: object) -> None:
    del output
    ctx.model = inputs[1]  # type: ignore[attr-defined, index]


def _backward(ctx: torch.autograd.function.FunctionCtx, *_: object) -> None:
    raise UnsupportedError(
        f"{describe(decode(ctx.model))} is computed by onnxruntime, and no gradient passes "  # type: ignore[attr-defined]
        "through it; what lies in front of it cannot be trained. Use quantize with data, or train "
        "the PyTorch model that the file was exported from"
    )


carried_op.register_autograd(_backward, setup_context=_setup)
#: The op in a graph.
CARRIED = torch.ops.tersor.carried.default


def carried_nodes(network: Network) -> Iterator[fx.Node]:
    """All carried parts of a network, in execution order."""
    for node in network.nodes():
        if node.op == "call_function" and node.target is CARRIED:
            yield node


def part_name(node: fx.Node) -> str:
    """The file's name of a carried part, for records: that of its first node."""
    return str(node.meta.get("custom", {}).get("onnx") or node.name)


def part_ops(node: fx.Node) -> str:
    """The types of a part's nodes: `LSTM`, or `SequenceConstruct, SequenceAt`."""
    found = [op_name(n) for n in decode(str(node.args[1])).graph.node]
    return ", ".join(dict.fromkeys(found))


def part_weights(network: Network, node: fx.Node) -> int:
    """The number of stored floating-point numbers that a part reads, those inside it included."""
    outside = {source(arg) for arg in node.all_input_nodes}
    stored = [network.tensor(arg) for arg in outside if arg.op == "get_attr"]
    inside = decode(str(node.args[1])).graph.initializer
    floats = sum(math.prod(x.dims) for x in inside if x.data_type in _FLOATS)
    return floats + sum(x.numel() for x in stored if x.is_floating_point())
