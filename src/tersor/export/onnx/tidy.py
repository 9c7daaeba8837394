"""Tidies an exported ONNX graph: readable names, and nothing that depends on this machine."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import Sequential
from onnx_ir.passes import common as passes

from tersor.export.onnx.axis_names import name_axes
from tersor.export.onnx.folded_weights import scaled_integers
from tersor.export.onnx.recurrent_weights import layer_name, store_recurrent_weights
from tersor.export.onnx.rewrite import constant, producer, rewrite

#: ONNX ops of convolution and linear layers → the position of their weight.
WEIGHTED = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}


def tidy(
    model: ir.Model,
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: Sequence[Mapping[int, str]] = (),
) -> None:
    """Rewrite the graph, rename its values, and strip what is not needed.

    Args:
        model: The model; changed in place.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        axes: For each input, names of its free axes.
    """
    store_recurrent_weights(model.graph)
    rewrite(model.graph)
    _own_zero_points(model.graph)
    Sequential(
        passes.IdentityEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.OutputFixPass(),
        passes.ClearMetadataAndDocStringPass(),
    )(model)
    _name_nodes(model.graph)
    name_axes(model, axes)
    name_ends(model.graph, inputs, outputs)
    for value in (*model.graph.inputs, *model.graph.initializers.values(), *model.graph.outputs):
        value.metadata_props.clear()
    _trim(model.graph)
    model.graph.name = "tersor"


def _trim(graph: ir.Graph) -> None:
    """Remove what a reader can infer; in small networks this is a tenth of the file."""
    for node in graph:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale = node.inputs[1]
            unused = ["block_size", "output_dtype", "saturate"]
            unused += ["axis"] if scale is not None and scale.shape == () else []
            for name in unused:
                node.attributes.pop(name, None)
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape, value.type = None, None


def stored_weight(node: ir.Node, position: int) -> ir.Value | None:
    """Find the initializer that a node reads as its weight, as it is or as integers of a scale."""
    value = node.inputs[position]
    if (integers := scaled_integers(value)) is not None:
        return integers
    shaped = producer(value, "Reshape")  # matrices of a recurrent layer
    value = value if shaped is None else shaped.inputs[0]
    read = producer(value, "DequantizeLinear")
    value = value if read is None else read.inputs[0]
    return value if value is not None and value.is_initializer() else None


def _name_nodes(graph: ir.Graph) -> None:
    """Give weighted nodes the user's name of the layer, which is the name of its weight."""
    taken: set[str] = set()
    numbers: Counter[str] = Counter()
    for node in graph:
        name = str(node.name).removeprefix("node_").removesuffix("__0")
        position = WEIGHTED.get(node.op_type)
        weight = None if position is None else stored_weight(node, position)
        if weight is not None:
            name = str(weight.name).removesuffix(".weight")
        name = layer_name(node) or name
        node.name = name
        while node.name in taken:
            numbers[name] += 1
            node.name = f"{name}_{numbers[name] + 1}"
        taken.add(node.name)


def _own_zero_points(graph: ir.Graph) -> None:
    """Give every stored tensor, and every scale of an activation, a zero point of its own.

    The exporter merges equal zero points into one. onnxruntime 1.32 cannot convert a weight whose
    zero point another weight shares (`session.x64quantprecision=1`: "Attempt to replace the
    existing tensor").
    """
    for node in graph:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.inputs) < 3:
            continue
        tensor, scale, shared = node.inputs
        stored = tensor is not None and tensor.is_initializer()
        owner = str((tensor if stored else scale).name)  # type: ignore[union-attr]
        name = f"{owner if stored else owner.removesuffix('_scale')}_zero_point"
        if shared is not None and shared.name != name and shared.const_value is not None:
            node.replace_input_with(2, _stored(graph, name, shared.const_value.numpy()))


def _stored(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """Find the initializer with this name, or a numbered one, that holds this array, or create it.

    The exporter gives quantizers with equal scales one scale, but their zero points may differ.
    """
    free, number = name, 2
    while (found := graph.initializers.get(free)) is not None:
        held = constant(found)
        if held is not None and held.dtype == array.dtype and np.array_equal(held, array):
            return found
        free, number = f"{name}_{number}", number + 1
    value = ir.val(free, const_value=ir.tensor(array, name=free))
    graph.register_initializer(value)
    return value


def name_ends(graph: ir.Graph, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Give inputs and outputs the user's names; inner values with such a name are renamed.

    Args:
        graph: Changed in place.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
    """
    names = dict(zip((*graph.inputs, *graph.outputs), (*inputs, *outputs), strict=True))
    taken = set(names.values())
    inside = [value for node in graph for value in node.outputs]
    for value in (*inside, *graph.initializers.values()):
        if value not in names and value.name in taken:
            value.name = f"{value.name}.inside"
    for value, name in names.items():
        value.name = name
