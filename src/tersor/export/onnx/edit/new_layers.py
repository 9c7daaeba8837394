"""Layers of the network that no node of the file stands for, as new nodes."""

from collections.abc import Callable

import onnx_ir as ir
from torch import fx

from tersor.export.onnx.edit.draft import Draft
from tersor.export.onnx.edit.stored_values import matters
from tersor.graph.calls import pads
from tersor.graph.layers import Layer, per_axis
from tersor.graph.nodes import argument, operand, source

Find = Callable[..., ir.Value]


def layer_node(draft: Draft, find: Find, layer: Layer) -> list[ir.Node]:
    """Write a convolution.

    Args:
        draft: The file under construction.
        find: Finds or writes the value of a node.
        layer: The layer.
    """
    weight = _edge(layer, "weight")
    attributes: dict[str, int | tuple[int, ...]] = {
        "strides": per_axis(layer, "stride"),
        "dilations": per_axis(layer, "dilation"),
        "group": layer.groups,
        "pads": pads(layer, tuple(layer.weight_node.meta["val"].shape[2:])),
    }
    if layer.is_transposed:
        attributes["output_padding"] = per_axis(layer, "output_padding")
    inputs = [find(operand(layer.node), layer.node.name), find(weight, _stored_name(weight))]
    bias = argument(layer.node, "bias")
    if bias is not None and matters(draft, bias):
        inputs.append(find(bias, _stored_name(bias)))
    return [ir.node("ConvTranspose" if layer.is_transposed else "Conv", inputs, attributes)]


def linear_nodes(draft: Draft, find: Find, layer: Layer) -> list[ir.Node]:
    """Write a linear layer as MatMul, and Add if it has a bias.

    Args:
        draft: The file under construction.
        find: Finds or writes the value of a node.
        layer: The layer.
    """
    weight, x = _edge(layer, "weight"), find(operand(layer.node), layer.node.name)
    product = ir.node("MatMul", [x, find(weight, _stored_name(weight), turned=True)])
    bias = argument(layer.node, "bias")
    if bias is None or not matters(draft, bias):
        return [product]
    value = find(bias, _stored_name(bias))
    return [product, ir.node("Add", [product.outputs[0], value])]


def _edge(layer: Layer, name: str) -> fx.Node:
    edge = argument(layer.node, name)
    assert isinstance(edge, fx.Node)
    return edge


def _stored_name(edge: fx.Node) -> str:
    return str(source(edge).target)
