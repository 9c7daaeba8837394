"""The graph of a network as JSON: a node a line, each after those that it reads."""

import keyword
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import fx
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo

from tersor.errors import UnsupportedError
from tersor.saved.arguments import read_argument, write_argument
from tersor.saved.carried_text import check_part
from tersor.saved.nesting import read_spec, write_spec
from tersor.saved.symbols import SavedSymbol, SymbolReader, SymbolWriter
from tersor.saved.targets import find_target, target_name


@dataclass(frozen=True)
class SavedNode:
    """A node of a graph.

    Attributes:
        op: What kind it is, in the words of `torch.fx`.
        name: Its name.
        target: The function, the tensor or the module; for an input, its name.
        args: Arguments; see `tersor.saved.arguments`.
        kwargs: Arguments by name.
        value: How large its value is; see `tersor.saved.symbols`.
        has_value: Whether that is known.
        file_node: The node of the ONNX file that it belongs to; empty if none.
        modules: The modules that it is called in, outermost first, as `[key, name, class]`.
    """

    op: Literal["placeholder", "get_attr", "call_function", "call_module", "output"]
    name: str
    target: str
    args: Any = None
    kwargs: Any = None
    value: Any = None
    has_value: bool = False
    file_node: str = ""
    modules: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class SavedGraph:
    """A graph.

    Attributes:
        nodes: The nodes, in execution order.
        arguments: Names of the arguments of the module.
        inputs: How they are nested; see `tersor.saved.nesting`.
        outputs: How outputs are nested.
        symbols: The free sizes.
    """

    nodes: tuple[SavedNode, ...]
    arguments: tuple[str, ...]
    inputs: Any
    outputs: Any
    symbols: Mapping[str, SavedSymbol]


def write_graph(graph: fx.Graph) -> SavedGraph:
    """Describe a graph.

    Args:
        graph: The graph of a network.

    Raises:
        UnsupportedError: Something in it has no form in a file.
    """
    if not isinstance(graph._codegen, _PyTreeCodeGen):
        raise UnsupportedError(
            "the network was read from a pickle, which does not keep how its outputs are nested; "
            "quantize or compress the model again, and save that"
        )
    info, symbols = graph._codegen.pytree_info, SymbolWriter()
    nodes = tuple(_write_node(node, symbols) for node in graph.nodes)
    outputs = None if info.out_spec is None else write_spec(info.out_spec)
    return SavedGraph(
        nodes, tuple(info.orig_args), write_spec(info.in_spec), outputs, symbols.symbols
    )


def _write_node(node: fx.Node, symbols: SymbolWriter) -> SavedNode:
    target = target_name(node.target) if node.op == "call_function" else str(node.target)
    stack = node.meta.get("nn_module_stack") or {}
    return SavedNode(
        op=node.op,  # type: ignore[arg-type]
        name=node.name,
        target=target,
        args=[write_argument(value) for value in node.args],
        kwargs={key: write_argument(value) for key, value in node.kwargs.items()},
        value=symbols.value(node.meta.get("val")),
        has_value="val" in node.meta,
        file_node=str((node.meta.get("custom") or {}).get("onnx") or ""),
        modules=tuple(
            (str(key), str(path), kind if isinstance(kind, str) else kind.__qualname__)
            for key, (path, kind) in stack.items()
        ),
    )


def read_graph(
    saved: SavedGraph, tensors: Collection[str], quantizers: Collection[str]
) -> fx.Graph:
    """Build a graph.

    Args:
        saved: What `write_graph` returned.
        tensors: Names of the tensors that it may read.
        quantizers: Names of the quantizers that it may call.

    Raises:
        ValueError: It is inconsistent.
        UnsupportedError: It calls what no file may call, or nests what is not known here.
    """
    graph, symbols = fx.Graph(), SymbolReader(saved.symbols)
    known = {"get_attr": tensors, "call_module": quantizers}
    nodes: dict[str, fx.Node] = {}
    for item in saved.nodes:
        if item.target not in known.get(item.op, (item.target,)):
            raise ValueError(
                f"node {item.name[:80]!r} reads {item.target[:80]!r}, which is missing"
            )
        node = _read_node(graph, item, nodes)
        if node.name != item.name or item.name in nodes:
            raise ValueError(f"a node cannot be called {item.name[:80]!r}")
        nodes[item.name] = node
        _add_notes(node, item, symbols)
    _check_ends(saved)
    specs = read_spec(saved.inputs), read_spec(saved.outputs)
    graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo([*saved.arguments], *specs)))
    graph.lint()
    return graph


def _read_node(graph: fx.Graph, item: SavedNode, nodes: Mapping[str, fx.Node]) -> fx.Node:
    if not isinstance(item.args, list) or not isinstance(item.kwargs, dict):
        raise ValueError(f"node {item.name[:80]!r} has no arguments")
    if not all(map(_is_name, item.kwargs)):
        raise ValueError(f"node {item.name[:80]!r} has an argument {min(item.kwargs)[:80]!r}")
    target = item.target
    if item.op == "call_function":
        target = find_target(item.target)
        check_part(target, item.args)
    elif item.op == "placeholder" and not _is_name(item.target):
        raise ValueError(f"an input is called {item.target[:80]!r}")
    args = tuple(read_argument(value, nodes) for value in item.args)
    kwargs = {key: read_argument(value, nodes) for key, value in item.kwargs.items()}
    return graph.create_node(item.op, target, args, kwargs, item.name)


def _add_notes(node: fx.Node, item: SavedNode, symbols: SymbolReader) -> None:
    if item.has_value:
        node.meta["val"] = symbols.value(item.value)
    if item.file_node:
        node.meta["custom"] = {"onnx": item.file_node}
    if item.modules:
        node.meta["nn_module_stack"] = {key: (path, kind) for key, path, kind in item.modules}


def _check_ends(saved: SavedGraph) -> None:
    outputs = [item for item in saved.nodes if item.op == "output"]
    if len(outputs) != 1 or saved.nodes[-1] is not outputs[0] or len(outputs[0].args) != 1:
        raise ValueError("its graph has no single output at its end")
    keys = ((saved.inputs or {}).get("children") or [{}])[-1] or {}
    for name in (*saved.arguments, *(keys.get("keys") or ())):
        if not _is_name(name):
            raise ValueError(f"an input is called {repr(name)[:80]}")


def _is_name(text: object) -> bool:
    """Whether a text can stand in the source that `torch.fx` writes."""
    if not isinstance(text, str) or not text.isascii():
        return False
    return text.isidentifier() and not keyword.iskeyword(text)
