"""Joins nodes between which sequences or optional values pass, so that a part reads tensors only.

    SequenceEmpty → Loop (SequenceInsert) → ConcatFromSequence     one part

Exporters write that for a list that Python fills in a loop.
"""

from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from tersor.frontend.onnx.carry import read_by, sub_graphs

_MADE_BY = frozenset(
    {
        *("SequenceEmpty", "SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceMap"),
        *("SplitToSequence", "Optional"),
    }
)


def joined(model: ir.Model) -> list[list[ir.Node]]:
    """The nodes of the main graph in execution order, those that must stay together in one list.

    Args:
        model: The file, its nodes in execution order.
    """
    nodes = list(model.graph)
    if not any(node.op_type in _MADE_BY for node in nodes):
        return [[node] for node in nodes]
    places = {node: place for place, node in enumerate(nodes)}
    groups = {place: {place} for place in places.values()}
    for node in nodes:
        for value in node.inputs:
            maker = None if value is None else value.producer()
            if maker in places and is_no_tensor(value):
                _merge(groups, places[maker], places[node])  # type: ignore[index]
    reads = {places[node]: {places[m] for m in _makers(node) if m in places} for node in nodes}
    for group in _larger(groups):
        for between in _between(group, reads, len(nodes)):
            _merge(groups, min(group), between)
    return [[nodes[place] for place in group] for group in _in_order(groups, reads)]


def is_no_tensor(value: ir.Value | None) -> bool:
    """Whether a value is a sequence or an optional value; onnx-ir infers no such types.

    Args:
        value: A value of a file.
    """
    if value is None or isinstance(value.type, ir.SequenceType | ir.OptionalType):
        return value is not None
    node, place = value.producer(), value.index()
    if node is None or place is None:
        return False
    if node.op_type == "Loop":
        place += 1  # the first thing that its body returns is whether to go on
    results = [x.outputs[place] for x in sub_graphs(node) if place < len(x.outputs)]
    is_same = node.op_type == "Identity" and is_no_tensor(node.inputs[0])
    return is_same or node.op_type in _MADE_BY or any(map(is_no_tensor, results))


def _makers(node: ir.Node) -> Iterator[ir.Node]:
    """The nodes whose values a node and its sub-graphs read."""
    for value in read_by(node):
        maker = value.producer()
        if maker is not None:
            yield maker


def _merge(groups: dict[int, set[int]], first: int, second: int) -> None:
    both = groups[first] | groups[second]
    groups.update(dict.fromkeys(both, both))


def _larger(groups: Mapping[int, set[int]]) -> list[set[int]]:
    return [group for place, group in groups.items() if len(group) > 1 and place == min(group)]


def _between(group: set[int], reads: Mapping[int, set[int]], count: int) -> set[int]:
    """What depends on a part of the group, and what another part of it depends on."""
    behind, before = set(group), set(group)
    for place in range(count):
        if not behind.isdisjoint(reads[place]):
            behind.add(place)
    for place in reversed(range(count)):
        if place in before:
            before |= reads[place]
    return behind & before


def _in_order(
    groups: Mapping[int, set[int]], reads: Mapping[int, set[int]]
) -> Iterator[Sequence[int]]:
    """The groups, each after what it reads."""
    done: set[int] = set()
    waiting = [sorted(group) for place, group in groups.items() if place == min(group)]
    while waiting:
        later = []
        for group in waiting:
            needed = {place for own in group for place in reads[own]}
            if needed <= done | {*group}:
                done |= {*group}
                yield group
            else:
                later.append(group)
        waiting = later
