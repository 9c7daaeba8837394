"""Make a captured graph functional: no node changes the value of another.

`x.add_(y)` becomes `z = x + y`, and later readers of `x` read `z`. That is exact as long as `x`
shares no memory with another value. Where it does (a slice that is assigned to), torch's own
functionalization is used instead.
"""

import operator
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from tersor.frontend.division import guard_divisions
from tersor.frontend.products import lift_products
from tersor.graph.attention import write_out_attention
from tersor.graph.network import keep_out_of_state_dict, quiet_copy

# `with` blocks that torch.export keeps as calls of graphs of their own. Inference needs none.
_CONTEXTS = {"wrap_with_set_grad_enabled", "wrap_with_autocast"}
_NATIVE_BATCH_NORM = torch.ops.aten._native_batch_norm_legit_no_training.default


def functionalize(program: ExportedProgram) -> fx.GraphModule:
    """Convert a program to a plain, functional `fx.GraphModule` with the user's weight names.

    Args:
        program: A `torch.export` program.

    Returns:
        A graph module without guards and input checks, whose weights are attributes.
    """
    module = _plain(program)
    _drop_counters(module.graph)
    if any(_writes_shared_memory(node) for node in module.graph.nodes):
        with quiet_copy():
            module = _plain(program.run_decompositions({}))
        _restore_batch_norm(module.graph)
    _replace_in_place(module.graph)
    return tidied(module)


def tidied(module: fx.GraphModule) -> fx.GraphModule:
    """Bring the calls of a functional graph into the forms that every pass knows.

    Args:
        module: Edited in place; no call writes to a value.
    """
    _drop_copies(module.graph)
    for node in module.graph.nodes:
        if node.target in (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default):
            node.target = torch.ops.aten.reshape.default  # needs no contiguous input
    guard_divisions(module.graph)
    lift_products(module)
    write_out_attention(module.graph)
    module.graph.lint()
    module.recompile()
    return module


def _plain(program: ExportedProgram) -> fx.GraphModule:
    unlifted = program.module(check_guards=False)
    module = fx.GraphModule(unlifted, unlifted.graph)
    # torch.export's own tracer class cannot be pickled.
    module._tracer_cls = module.graph._tracer_cls = fx.Tracer
    _inline_contexts(module)
    saved = program.state_dict.keys()
    keep_out_of_state_dict(module, {n for n, _ in module.named_buffers() if n not in saved})
    return module


def _inline_contexts(module: fx.GraphModule) -> None:
    bodies = set()
    while wrapped := [node for node in module.graph.nodes if str(node.target) in _CONTEXTS]:
        for node in wrapped:
            bodies.add(_inline(module, node).partition(".")[0])
    for body in bodies:
        module.delete_submodule(body)


def _inline(module: fx.GraphModule, node: fx.Node) -> str:
    """Inline the body of a `with torch.no_grad():` or `torch.autocast` block.

    Returns:
        The name of the body.
    """
    position = next(i for i, arg in enumerate(node.args) if _is_graph(module, arg))
    body = node.args[position]
    assert isinstance(body, fx.Node)
    inner = module.get_submodule(str(body.target))
    assert isinstance(inner, fx.GraphModule)
    inputs = iter(node.args[position + 1 :])
    values: dict[fx.Node, Any] = {}
    with module.graph.inserting_before(node):
        for part in inner.graph.nodes:
            if part.op == "placeholder":
                values[part] = next(inputs)
            elif part.op == "get_attr":
                values[part] = module.graph.get_attr(f"{body.target}.{part.target}")
            elif part.op != "output":
                values[part] = module.graph.node_copy(part, values.__getitem__)
    results: Any = inner.graph.output_node().args[0]
    for user in list(node.users):  # the call returns a tuple
        picked: Any = user.args[1]
        user.replace_all_uses_with(values[results[picked]])
        module.graph.erase_node(user)
    module.graph.erase_node(node)
    module.graph.erase_node(body)
    return str(body.target)


def _is_graph(module: fx.GraphModule, value: Any) -> bool:
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        return False
    path, _, leaf = str(value.target).rpartition(".")
    return isinstance(getattr(module.get_submodule(path), leaf), fx.GraphModule)


def _drop_counters(graph: fx.Graph) -> None:
    """Remove buffers that are only written to, such as the batch counter of a BatchNorm."""
    for buffer in graph.find_nodes(op="get_attr"):
        users = list(buffer.users)
        if all(_written(user) is buffer and set(user.users) <= set(users) for user in users):
            for user in reversed(users):
                graph.erase_node(user)


def _written(node: fx.Node) -> fx.Node | None:
    """The argument that an in-place op writes to."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return None
    for position, argument in enumerate(node.target._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = (
                node.args[position] if position < len(node.args) else node.kwargs.get(argument.name)
            )
            return given if isinstance(given, fx.Node) else None
    return None


def _is_view(node: fx.Node) -> bool:
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return node.op == "call_function" and node.target is operator.getitem
    return any(result.alias_info is not None for result in node.target._schema.returns)


def _writes_shared_memory(node: fx.Node) -> bool:
    written = _written(node)
    if written is None:
        return False
    if _functional_twin(node) is None or written.op in ("placeholder", "get_attr"):
        return True
    views = [user for user in written.users if user is not node and _written(user) is None]
    # An earlier in-place op also returns an alias of what it wrote; that one is the same value.
    is_view = _is_view(written) and _written(written) is None
    return is_view or any(_is_view(user) for user in views)


def _functional_twin(node: fx.Node) -> torch._ops.OpOverload | None:
    """`aten.add_.Tensor` → `aten.add.Tensor`."""
    assert isinstance(node.target, torch._ops.OpOverload)
    packet, _, overload = node.target._name.removeprefix("aten::").partition(".")
    if not packet.endswith("_"):
        return None
    twin = getattr(torch.ops.aten, packet.removesuffix("_"), None)
    return getattr(twin, overload or "default", None)


def _replace_in_place(graph: fx.Graph) -> None:
    position = {node: index for index, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        written = _written(node)
        twin = _functional_twin(node) if written is not None else None
        if written is None or twin is None:
            continue
        node.target = twin
        written.replace_all_uses_with(
            node, delete_user_cb=lambda user, here=position[node]: position[user] > here
        )


def _drop_copies(graph: fx.Graph) -> None:
    """Remove ops that only copy a value, and unused nodes."""
    copies = {
        torch.ops.aten.lift_fresh_copy.default,
        torch.ops.aten.clone.default,
        torch.ops.aten.alias.default,
        torch.ops.aten.contiguous.default,
        torch.ops.aten.detach_.default,
        torch.ops.aten.detach.default,
    }
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in copies:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op in ("call_function", "get_attr"):
            graph.erase_node(node)


def _restore_batch_norm(graph: fx.Graph) -> None:
    """Rewrite `_native_batch_norm_legit_no_training(…)[0]` as a single `aten.batch_norm`."""
    for node in list(graph.nodes):
        if node.target is not operator.getitem or node.args[0].target is not _NATIVE_BATCH_NORM:
            continue
        x, weight, bias, mean, var, momentum, eps = node.args[0].args
        with graph.inserting_before(node):
            plain = graph.call_function(
                torch.ops.aten.batch_norm.default,
                (x, weight, bias, mean, var, False, momentum, eps, False),
            )
        plain.meta = dict(node.meta)
        node.replace_all_uses_with(plain)
