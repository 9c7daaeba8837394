"""The signature of an ONNX file: the names of outputs, and the free axes."""

import inspect
import re
from collections import Counter
from typing import Any

import onnx_ir as ir
from torch import fx
from torch.export import Dim
from torch.fx.graph import _PyTreeCodeGen
from torch.utils import _pytree as pytree

from tersor.errors import UnsupportedError
from tersor.frontend.given import key
from tersor.graph.layers import layers
from tersor.graph.network import Network, free_name, set_tensor
from tersor.graph.shapes import is_free

#: Names that `torch.onnx.export` gives to its own values.
_GENERATED = re.compile(r"val_\d+")


def output_names(network: Network) -> list[str]:
    """Name outputs after dict keys, nested keys joined by dots; else `output`, `output_0`, ….

    All names differ, and outputs that are None are omitted.

    Raises:
        UnsupportedError: An output is neither a tensor nor None.
    """
    if network.output_names:
        return list(network.output_names)
    names: list[str] = []
    for path, value in _outputs(network):
        if isinstance(value, fx.Node):
            names.append(_distinct(_output_name(path), names))
        elif value is not None:
            raise UnsupportedError(
                f"output {_output_name(path)!r} is the constant {value!r}. The outputs of an ONNX "
                "file are tensors only, so remove it from what the model returns"
            )
    return names


def _outputs(network: Network) -> list[tuple[tuple[Any, ...], Any]]:
    """Find the position of each output in what the model returns, and the node that computes it."""
    if not isinstance(network.graph._codegen, _PyTreeCodeGen):
        raise UnsupportedError(
            "the network was read from a pickle, which keeps what computes but not what is needed "
            "to write a file; pickle or save the result that holds it, or use copy.deepcopy"
        )
    values: Any = network.graph.output_node().args[0]
    spec: Any = network.module._out_spec
    return pytree.tree_flatten_with_path(pytree.tree_unflatten(values, spec))[0]


def _output_name(path: tuple[Any, ...]) -> str:
    parts = [key(step) for step in path]
    if not parts or parts[0].isdigit():
        return "_".join(["output", *parts])
    return ".".join(parts) or "output"


def _distinct(name: str, names: list[str]) -> str:
    """Make names differ by `_2`, `_3` …: the keys 1 and `"1"` give the same name."""
    candidate, number = name, 2
    while candidate in names:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def free_axes(network: Network) -> dict[str, Any]:
    """The axes of inputs that were free at capture, in the form that `torch.export` expects."""
    free = []
    for node in network.graph.nodes:
        if node.op == "placeholder":
            shape = getattr(node.meta.get("val"), "shape", ())
            axes = [axis for axis, size in enumerate(shape) if is_free(size)]
            free.append(dict.fromkeys(axes, Dim.DYNAMIC) or None)
    spec = pytree.tree_structure((network.args, network.kwargs))
    args, kwargs = pytree.tree_unflatten(free, spec)
    names = inspect.signature(network.module.forward).parameters
    return {**dict(zip(names, args, strict=False)), **kwargs}


def name_output_axes(model: ir.Model, network: Network) -> None:
    """Give the free axes of outputs the names that they have in the file that the network is from.

    Args:
        model: The exported model; changed in place.
        network: The network.
    """
    if network.origin is None:
        return
    for value, own in zip(model.graph.outputs, network.origin.model.graph.outputs, strict=True):
        if value.shape is None or own.shape is None or len(value.shape) != len(own.shape):
            continue
        pairs = zip(value.shape, own.shape, strict=True)
        value.shape = ir.Shape(
            name.value
            if isinstance(axis, ir.SymbolicDim) and isinstance(name, ir.SymbolicDim) and name.value
            else axis
            for axis, name in pairs
        )


def layer_output_names(network: Network) -> dict[fx.Node, str]:
    """Name layer outputs `conv1.output`, then `conv1.output_2` for further calls of a weight."""
    names: dict[fx.Node, str] = {}
    calls: Counter[str] = Counter()
    for layer in layers(network):
        # A layer has the name of its weight itself if that is not the `weight` of a module.
        dotted = str(layer.weight_node.target) == f"{layer.name}.weight"
        name = f"{layer.name}.output" if dotted else f"{layer.name}_output"
        calls[name] += 1
        names[layer.node] = name if calls[name] == 1 else f"{name}_{calls[name]}"
    return names


def free_generated_names(network: Network) -> None:
    """Rename nodes and tensors whose names `torch.onnx.export` gives to values of its own.

    A network that was read from one of its files has such names.

    Args:
        network: Edited in place.
    """
    renamed: dict[str, str] = {}
    for node in network.nodes():
        if _GENERATED.fullmatch(node.name):
            node._rename(f"{node.name}_")
        target = str(node.target)
        if node.op == "get_attr" and _GENERATED.fullmatch(target):
            if target not in renamed:
                renamed[target] = free_name(network.module, f"{target}_")
                set_tensor(network.module, renamed[target], network.tensor(node))
            node.target = renamed[target]
