"""Translate a captured graph to ONNX: START READING HERE. `translate` reads like a contents page.

`torch.onnx.export` captures what it is given and decomposes all of it, which is most of its time. A
captured graph has been through the first, and few of its calls need the second. So PyTorch's
translation of each op is called directly. It is internal to PyTorch, and may be another one in
another version; whoever calls `translate` needs another way for that.
"""

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir
import onnxscript.version_converter
from onnx_ir.tensor_adapters import TorchTensor
from torch import Tensor, fx
from torch.onnx._internal.exporter import _core, _ir_passes
from torch.utils import _pytree as pytree

from tersor.export.onnx.translation import further_ops
from tersor.export.onnx.translation.decomposition import decompose
from tersor.export.onnx.translation.known_values import give_values
from tersor.export.onnx.translation.promotion import promote
from tersor.export.onnx.translation.registry import registry
from tersor.export.onnx.translation.simplification import simplify
from tersor.graph.network import Network, get_tensor

_IR_VERSION = 10


def translate(network: Network, opset: int, custom: Mapping[Any, Any]) -> ir.Model:
    """Translate a network.

    Args:
        network: A network without quantizers; it is not changed.
        opset: The version of the operator set.
        custom: Op → its translation, for ops that are not PyTorch's.

    Raises:
        Exception: It holds something other than ops on real tensors, or PyTorch's functions are
            others in this version.
    """
    table = registry(opset, (*custom.items(), *further_ops.TRANSLATIONS.items()))
    graph, stored = _with_stored_inputs(network)
    give_values(graph, stored)
    decompose(graph, table)
    promote(graph)
    model = ir.Model(ir.Graph([], [], nodes=[], name="network"), ir_version=_IR_VERSION)
    values = _core._translate_fx_graph(
        graph,
        model,
        graph_like=model.graph,
        owned_graphs={},
        lower="at_conversion",
        registry=table,
    )
    _store(model.graph, {values[node.name]: node for node in stored}, stored)
    _ir_passes.add_opset_imports(model)
    onnxscript.version_converter.convert_version(model, opset)
    simplify(model)
    return model


def _with_stored_inputs(network: Network) -> tuple[fx.Graph, dict[fx.Node, Tensor]]:
    """Copy the graph with its stored tensors as further inputs: PyTorch's functions expect that.

    Returns:
        The copy, and its further inputs with their tensors.
    """
    graph, stored = fx.Graph(), dict[fx.Node, Tensor]()
    copies: dict[fx.Node, fx.Node] = {}
    inputs: dict[str, fx.Node] = {}
    given = pytree.tree_leaves((network.args, network.kwargs))
    for node, x in zip(network.graph.find_nodes(op="placeholder"), given, strict=True):
        if _is_as_captured(node, x):
            copies[node] = graph.node_copy(node)
        elif node.users:
            raise TypeError(f"input {node.name!r} is no tensor of the type that was captured")
    for node in network.graph.find_nodes(op="get_attr"):
        name = str(node.target)
        if name not in inputs:
            inputs[name] = graph.placeholder(f"stored_{len(inputs)}")
            inputs[name].meta = {"val": node.meta.get("val"), "stored": name}
            stored[inputs[name]] = _real(get_tensor(network.module, name), name)
        copies[node] = inputs[name]
    for node in network.graph.nodes:
        if node not in copies and node.op != "placeholder":
            copies[node] = graph.node_copy(node, copies.__getitem__)
    return graph, stored


def _is_as_captured(node: fx.Node, given: Any) -> bool:
    known = node.meta.get("val")
    if not isinstance(known, Tensor) or not isinstance(given, Tensor):
        return False
    return (known.dtype, known.device) == (given.dtype, given.device)


def _real(tensor: Any, name: str) -> Tensor:
    if not isinstance(tensor, Tensor) or tensor.is_complex():
        raise TypeError(f"{name!r} is no tensor of real numbers")
    return tensor.detach()


def _store(graph: ir.Graph, nodes: Mapping[Any, fx.Node], stored: Mapping[fx.Node, Tensor]) -> None:
    """Store the tensors that are inputs so far, under their own names."""
    own = [value for value in graph.inputs if value not in nodes]
    graph.inputs.clear()
    graph.inputs.extend(own)
    for value, node in nodes.items():
        value.name = node.meta["stored"]
        value.const_value = TorchTensor(stored[node], name=value.name)
        graph.register_initializer(value)
