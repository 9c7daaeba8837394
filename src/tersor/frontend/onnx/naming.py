"""Gives a captured file its own names of inputs, outputs, weights and nodes."""

import operator
import re
from dataclasses import replace

from torch import fx

from tersor.frontend.onnx.model import OnnxModel
from tersor.graph.carried import carried_nodes, part_name
from tersor.graph.carried_model import decode
from tersor.graph.footprint import record
from tersor.graph.network import Applied, Network
from tersor.graph.origin import Origin


def name_like_file(network: Network, model: OnnxModel) -> None:
    """Give inputs and nodes of a captured graph the names that they have in the file.

    Names of nodes become identifiers: `/layer1/Conv` becomes `layer1_Conv`. The names of inputs and
    outputs are noted unchanged, and written to exported files. The file itself is noted, too, and
    recorded is what was changed in it before it was read.

    Args:
        network: The captured network; edited in place.
        model: The model that was captured.
    """
    network.input_names = tuple(x.name for x in model.inputs)
    network.output_names = model.outputs
    network.records += [Applied("the file", "read", change) for change in model.changes]
    last: dict[str, fx.Node] = {}
    for node in network.graph.nodes:
        name = node.meta.get("custom", {}).get("onnx")
        if name is not None and node.op == "call_function":
            last[name] = node  # the others are intermediate steps
    last |= {str(part_name(node)): node for node in carried_nodes(network)}
    for name, node in last.items():
        _rename(node, name)
    for part in carried_nodes(network):
        _rename_outputs(part)
    for node, x in zip(network.graph.find_nodes(op="placeholder"), model.inputs, strict=True):
        _rename(node, x.name)
    network.finish()
    network.origin = None if model.origin is None else _recorded(model.origin, network, model.path)


def _recorded(origin: Origin, network: Network, path: str) -> Origin:
    """Note where the file is, and the calls of each node, as they are before any change."""
    stored = {str(v.name) for v in origin.model.graph.initializers.values()}
    stored |= {
        str(v.name) for n in origin.model.graph if n.op_type == "Constant" for v in n.outputs
    }
    lifted = {name for note in origin.lifted.values() for name in (note.weight, note.bias)}
    as_stored = {a for name, a in origin.attributes.items() if name in stored - lifted}
    records, outputs, checksums = record(network, as_stored)
    return replace(origin, records=records, outputs=outputs, checksums=checksums, path=path)


def _rename_outputs(part: fx.Node) -> None:
    """Name what a carried part computes as the file does."""
    outputs = decode(str(part.args[1])).graph.output
    for user in part.users:
        if user.target is operator.getitem:
            _rename(user, outputs[user.args[1]].name)  # type: ignore[index]


def _rename(node: fx.Node, name: str) -> None:
    plain = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_")
    plain = f"{plain}_" if plain == "self" else plain  # the graph's code uses `self` for itself
    if plain and plain != node.name:
        node._rename(plain if not plain[0].isdigit() else f"_{plain}")
