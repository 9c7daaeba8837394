"""Kept nodes read what their calls read now: rounded values, integers, what precedes a fold."""

from collections.abc import Iterator, Mapping

import onnx_ir as ir
import torch
from torch import fx

from tersor.errors import UnmappedError
from tersor.export.onnx.edit.draft import Draft
from tersor.export.onnx.edit.lookup import look_up
from tersor.export.onnx.edit.matrix_products import wire_linear
from tersor.export.onnx.edit.stored_values import matters
from tersor.export.onnx.edit.values import Values
from tersor.frontend.onnx.carry import read_by, sub_graphs
from tersor.frontend.onnx.joined_nodes import is_no_tensor
from tersor.graph.nodes import source
from tersor.graph.ops import WEIGHTED

_SIZE = torch.ops.aten.sym_size.int
Nodes = Mapping[str | None, ir.Node]


def wire(draft: Draft, values: Values) -> None:
    """Give every kept node its new inputs.

    Args:
        draft: The file under construction.
        values: Finds or writes the values.

    Raises:
        UnmappedError: A node reads something that has no place in the file.
    """
    nodes = {node.name: node for node in draft.graph}
    for name in draft.kept:
        values.before = nodes[name]
        if name in draft.origin.lifted:
            wire_linear(draft, values, nodes, name)
        else:
            _wire(draft, values, nodes, name)
            look_up(draft, nodes[name], name)
    values.before = None


def _wire(draft: Draft, values: Values, nodes: Nodes, name: str) -> None:
    """Match what the calls read with the inputs of the node, by what both were once."""
    node, members = nodes[name], draft.origin.written_out.get(name, (name,))
    old, new = draft.origin.records[name].reads, draft.prints[name].reads
    for ref in dict.fromkeys(old):
        reads = [read for was, read in zip(old, new, strict=True) if was == ref]
        if ref == "":
            _add_bias(draft, values, node, name)
            continue
        places = [
            (member, place)
            for member in map(nodes.__getitem__, members)
            for place, value in enumerate(member.inputs)
            if value is not None and draft.refs.get(value) == ref
        ]
        _rewire(draft, values, node, ref, places, reads)


def _rewire(
    draft: Draft,
    values: Values,
    node: ir.Node,
    ref: str,
    places: list[tuple[ir.Node, int]],
    reads: list[fx.Node | None],
) -> None:
    different = list(dict.fromkeys(reads))
    if len(different) > 1 and len(places) != len(reads):
        raise UnmappedError(f"node {node.name!r} reads {ref} in several ways")
    draft.heirs.update((ref, source(read)) for read in different if read is not None)
    if not places and _reads_sizes(draft, node, different):
        return  # the file finds them elsewhere, such as behind a Shape
    if not places:
        _rewire_inside(draft, values, node, ref, different)
        return
    each = reads if len(different) > 1 else different * len(places)
    for (member, place), read in zip(places, each, strict=True):
        value = _value(values, read, str(member.inputs[place].name))  # type: ignore[union-attr]
        if value is not draft.homes.get(ref):  # else it may pass through an Identity
            member.replace_input_with(place, value)


def _reads_sizes(draft: Draft, node: ir.Node, read: list[fx.Node | None]) -> bool:
    """Whether the calls of a node read nothing of values but their sizes."""
    calls = draft.prints[str(node.name)].calls
    readers = [user for value in read if value is not None for user in value.users if user in calls]
    return bool(readers) and all(user.target is _SIZE for user in readers)


def _rewire_inside(
    draft: Draft, values: Values, node: ir.Node, ref: str, different: list[fx.Node | None]
) -> None:
    """Rewire the nodes of sub-graphs, which read values of the graph around them."""
    home = draft.homes.get(ref)
    if home is None or (value := _value(values, different[0], ref)) is home:
        return
    found = [
        (inner, place)
        for inner in _inside(node)
        for place, read in enumerate(inner.inputs)
        if read is not None and draft.refs.get(read) == ref
    ]
    if not found or len(different) > 1:
        raise UnmappedError(f"node {node.name!r} of the file does not read {ref} itself")
    for inner, place in found:
        inner.replace_input_with(place, value)


def _inside(node: ir.Node) -> Iterator[ir.Node]:
    """The nodes of sub-graphs, and those that compute the sequences which the node reads."""
    for graph in sub_graphs(node):
        yield from graph.all_nodes()
    for value in read_by(node):
        maker = value.producer() if is_no_tensor(value) else None
        if maker is not None:
            yield maker
            yield from _inside(maker)


def _value(values: Values, read: fx.Node | None, name: str) -> ir.Value:
    if read is None:
        raise UnmappedError(f"{name!r} is no longer read")
    return values.of(read, name)


def _add_bias(draft: Draft, values: Values, node: ir.Node, name: str) -> None:
    """Give a convolution the bias that a pass gave it, unless it is zero."""
    layers = [call for call in draft.prints[name].calls if call.target in WEIGHTED]
    if len(layers) != 1 or node.op_type not in ("Conv", "ConvTranspose"):
        raise UnmappedError(f"node {name!r} ({node.op_type}) got a bias")
    bias = draft.prints[name].reads[draft.origin.records[name].reads.index("")]
    if bias is not None and matters(draft, bias):
        node.resize_inputs(3)
        node.replace_input_with(2, values.of(bias, str(source(bias).target)))
