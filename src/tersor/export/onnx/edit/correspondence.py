"""Which node and value of the file stands for which call and value of the network.

A node is kept if its calls are those that it had when the file was read, whatever they read now.
"""

from collections.abc import Iterator

import onnx_ir as ir

from tersor.export.onnx.edit.draft import Draft
from tersor.export.onnx.edit.quantizers import is_quantizer
from tersor.graph.carried import CARRIED
from tersor.graph.footprint import Footprint, footprints, reference, stored_reference
from tersor.graph.nodes import computed_from_inputs

#: Ops whose result may be their first input itself, so that they have no call.
_ALIASES = {
    "Cast",
    "CastLike",
    "Clip",
    "Concat",
    "Dropout",
    "Expand",
    "Identity",
    "Max",
    "Mean",
    "Min",
    "Pad",
    "Reshape",
    "Resize",
    "Sum",
    "Upsample",
}


def correspond(draft: Draft) -> None:
    """Find the kept nodes, and the values of inputs and kept nodes.

    Args:
        draft: Its `prints`, `computed`, `kept`, `refs`, `homes` and `values` are filled.
    """
    draft.prints = footprints(draft.network.graph)
    draft.computed = set(computed_from_inputs(draft.network.graph))
    draft.refs = dict(_references(draft))
    for value, ref in draft.refs.items():
        draft.homes.setdefault(ref, value)
    records = draft.origin.records
    for name, found in draft.prints.items():
        is_same = name in records and records[name].ops == found.ops
        if is_same and not _rounds_inside(draft, found):
            draft.kept.append(name)
            for number, call in enumerate(found.calls):
                home = draft.homes.get(reference(name, number))
                if home is not None:
                    draft.values[call] = home
    for number, node in enumerate(draft.network.graph.find_nodes(op="placeholder")):
        draft.values[node] = draft.homes[_input(number)]


def _rounds_inside(draft: Draft, found: Footprint) -> bool:
    """Whether a value inside a node is rounded to other numbers than what the node reads.

    A padded value is rounded once more where the node pads it itself: to the same grid.
    """
    outside = {read.target for read in found.reads if read is not None and read.op == "call_module"}
    return any(is_quantizer(draft, q) and q.target not in outside for q in found.inner)


def _input(number: int) -> str:
    return f"input {number}"


def _references(draft: Draft) -> Iterator[tuple[ir.Value, str]]:
    """What each value of the file was in the network when the file was read."""
    graph, attributes = draft.graph, draft.origin.attributes
    known: dict[ir.Value, str] = {}
    inputs = [value for value in graph.inputs if not value.is_initializer()]
    known.update({value: _input(number) for number, value in enumerate(inputs)})
    made = [value for node in graph for value in node.outputs]
    turned = {note.weight for note in draft.origin.lifted.values() if note.own and note.transposed}
    for value in (*graph.initializers.values(), *made):
        if value.name in attributes and value.name not in turned:
            known[value] = stored_reference(attributes[str(value.name)])
    joined = {note.add: name for name, note in draft.origin.lifted.items() if note.add}
    for node in graph:
        name = joined.get(str(node.name), str(node.name))
        if name not in joined.values() or name != node.name:  # a product has no value of its own
            known.update(_results(draft, node, name, known))
    yield from known.items()


def _results(
    draft: Draft, node: ir.Node, name: str, known: dict[ir.Value, str]
) -> Iterator[tuple[ir.Value, str]]:
    record = draft.origin.records.get(name)
    named = [value for value in node.outputs if value.name and value not in known]
    first = node.inputs[0] if node.inputs else None
    is_alias = node.op_type in _ALIASES and (record is None or node.op_type == "Dropout")
    if is_alias and named and first in known:
        yield named.pop(0), known[first]
    if record is None:
        return
    if len(named) == 1:
        yield named[0], reference(name, record.count - 1)
    is_carried = record.ops.startswith(str(CARRIED))  # it returns only what the file names
    for place, value in enumerate(named) if len(named) > 1 else ():
        number = record.parts.get(place if is_carried else value.index() or 0)
        if number is not None:
            yield value, reference(name, number)
