"""What blocks of a network return, so that training can compare that with the float network, too.

    Σ_blocks ‖f − t‖² / ‖t‖² / blocks        f: what a block returns, t: in the float network

FitNets, arXiv 1412.6550, §2: hints. Each layer then learns from what comes right behind it, and
not only from what is left of its error at the outputs. A block is a residual branch with its
addition, or a layer with its activation; see `tersor.graph.blocks`.

Differs from the paper in: all blocks give hints, which count less and less as training goes on,
where the paper has one hint and a stage of its own for it; no regressor stands between the two,
for a quantized or a compressed network has values of the same shape.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from tersor.graph.blocks import blocks
from tersor.graph.layers import is_layer
from tersor.graph.network import Network, source


def block_outputs(teacher: Network, network: Network) -> list[str]:
    """The names of the values that blocks return, but for the last, where both have them alike.

    What a layer writes by itself is left out: a BatchNorm may follow it in one network, and be
    folded into it in the other.

    Args:
        teacher: The float network.
        network: The one to be trained; pruned values are left out.
    """
    found = [source(block.exits[0]) for block in blocks(teacher) if len(block.exits) == 1][:-1]
    shapes = {node.name: _shape(node) for node in network.nodes()}
    return [
        node.name
        for node in found
        if not is_layer(node) and shapes.get(node.name) == _shape(node) is not None
    ]


def expose(network: Network, names: list[str]) -> None:
    """Make a network return `(outputs, values)`.

    Args:
        network: Edited in place; not to be exported any more.
        names: Of its values.
    """
    nodes = {node.name: node for node in network.nodes()}
    values = tuple(nodes[name] for name in names)
    (output,) = network.graph.find_nodes(op="output")
    codegen: Any = network.graph._codegen
    if getattr(codegen, "pytree_info", None) is None:
        output.args = ((output.args[0], values),)
    else:  # the outputs lie flat in the graph, and are put into their structure behind it
        flat: Any = output.args[0]
        whole = pytree.tree_unflatten(list(flat), codegen.pytree_info.out_spec)
        structure = pytree.tree_structure((whole, values))
        codegen.pytree_info = codegen.pytree_info._replace(out_spec=structure)
        output.args = ((*flat, *values),)
    network.finish()


def hints(
    found: tuple[Float[Tensor, "..."], ...], wanted: tuple[Float[Tensor, "..."], ...]
) -> Float[Tensor, ""]:
    """Σ ‖f − t‖² / ‖t‖², divided by how many there are.

    Args:
        found: f, of each block.
        wanted: t.
    """
    parts = [
        (f - t).float().square().sum() / t.float().square().sum().clamp(min=1e-12)
        for f, t in zip(found, wanted, strict=True)
    ]
    return torch.stack(parts).mean()


def _shape(node: fx.Node) -> list[str] | None:
    """The shape of a value without its batch axis; sizes may be symbols."""
    value = node.meta.get("val")
    return [str(size) for size in value.shape[1:]] if isinstance(value, Tensor) else None
