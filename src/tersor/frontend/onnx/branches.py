"""Folds `If` nodes whose condition is known: the branch that is taken takes their place."""

from collections.abc import Iterator, Mapping

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from tersor.frontend.explain import quiet
from tersor.frontend.onnx.carry import LARGEST_INSIDE, sub_graphs
from tersor.frontend.onnx.conditions import known_value


def fold_branches(model: ir.Model) -> None:
    """Replace every `If` of the main graph whose condition is known by the branch that it takes.

    Args:
        model: The file; edited in place. Its nodes have names.
    """
    is_changed = False
    while ifs := [node for node in model.graph if is_if(node)]:
        with quiet():
            ShapeInferencePass()(model)
        found = {str(node.name): known_value(model, node.inputs[0]) for node in ifs}
        known = {n: bool(x.item()) for n, x in found.items() if x is not None and x.size == 1}
        if not known:
            break
        take_branches(model, known)
        is_changed = True
    if is_changed:
        RemoveUnusedNodesPass()(model)


def take_branches(model: ir.Model, taken: Mapping[str, bool]) -> None:
    """Put the nodes of a branch in the place of its `If`.

    Args:
        model: The file; edited in place.
        taken: Name of an `If` of the main graph → its condition.
    """
    for node in list(model.graph):
        if is_if(node) and str(node.name) in taken:
            name = "then_branch" if taken[str(node.name)] else "else_branch"
            _inline(model.graph, node, node.attributes[name].as_graph())


def is_if(node: ir.Node) -> bool:
    """Whether this is an `If` of ONNX itself."""
    return node.op_type == "If" and node.domain in ("", "ai.onnx")


def _inline(graph: ir.Graph, node: ir.Node, branch: ir.Graph) -> None:
    inside = {*branch.initializers.values(), *(v for n in branch for v in n.outputs)}
    taken = {v.name for v in values_of(graph) if v not in inside}
    for value in inside:
        if value.name is not None:
            value.name = free_name(value.name, taken)
            taken.add(value.name)
    for value in list(branch.initializers.values()):
        branch.initializers.pop(str(value.name))
        graph.register_initializer(value)
    results, nodes = list(branch.outputs), list(branch)
    branch.outputs.clear()
    branch.remove(nodes)
    graph.insert_before(node, nodes)
    for old, new in zip(node.outputs, results, strict=True):
        replace_value(graph, node, old, new)
    graph.remove(node, safe=True)


def replace_value(graph: ir.Graph, node: ir.Node, old: ir.Value, new: ir.Value) -> None:
    """Let the readers of a value read another one; an output of the file keeps its name.

    Args:
        graph: The graph.
        node: The node that computes the old value.
        old: The old value.
        new: The new value.
    """
    if old.is_graph_output():
        copy = ir.node("Identity", [new], name=f"{node.name}/{old.name}")
        graph.insert_before(node, copy)
        (new,) = copy.outputs
        new.shape, new.type = old.shape, old.type
    name = old.name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    if new.is_graph_output():
        old.name = None
        new.name = name


def free_name(name: str, taken: set[str | None]) -> str:
    """This name, or a similar one that nothing has.

    Args:
        name: The name.
        taken: The names of everything else.
    """
    free, number = name, 2
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def values_of(graph: ir.Graph) -> Iterator[ir.Value]:
    """All values of a graph and of its sub-graphs.

    Args:
        graph: The graph.
    """
    yield from (*graph.inputs, *graph.initializers.values())
    for node in graph:
        yield from node.outputs
        for inner in sub_graphs(node):
            yield from values_of(inner)


def graphs_in(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """The graphs that an attribute of a file holds, which is not read yet.

    Args:
        attribute: The attribute.
    """
    return [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]


def lift_weights(model: ir.Model) -> None:
    """Move the larger stored values of sub-graphs to the main graph, where they have names.

    Args:
        model: The file; edited in place.
    """
    found = [inner for node in model.graph for inner in sub_graphs(node)]
    for graph in found:
        found += [inner for node in graph for inner in sub_graphs(node)]
        for value in list(graph.initializers.values()):
            if value.const_value is not None and value.const_value.size > LARGEST_INSIDE:
                graph.initializers.pop(str(value.name))
                _store(model.graph, value)
        for node in list(graph):
            _lift_constant(model.graph, graph, node)


def _lift_constant(main: ir.Graph, graph: ir.Graph, node: ir.Node) -> None:
    stored = node.attributes.get("value") if node.op_type == "Constant" else None
    if stored is None or node.outputs[0].is_graph_output():
        return
    value, tensor = node.outputs[0], stored.as_tensor()
    if tensor.size <= LARGEST_INSIDE:
        return
    new = ir.val(value.name, const_value=tensor)
    ir.convenience.replace_all_uses_with(value, new)
    graph.remove(node, safe=True)
    _store(main, new)


def _store(graph: ir.Graph, value: ir.Value) -> None:
    taken = {other.name for other in values_of(graph) if other is not value}
    value.name = free_name(str(value.name), taken)
    graph.register_initializer(value)
