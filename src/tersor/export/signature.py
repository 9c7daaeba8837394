"""The names that the user sees on an ONNX file: inputs, outputs, and which axes are free."""

import inspect
from typing import Any

import torch
from torch.export import Dim
from torch.utils import _pytree as pytree

from tersor.graph.network import Network


def input_names(network: Network) -> list[str]:
    """The arguments of the model's `forward`; entries of nested inputs have `_` between."""
    return [node.name for node in network.graph.nodes if node.op == "placeholder"]


def output_names(network: Network) -> list[str]:
    """The keys of a dict output, nested keys joined by dots; `output` or `output_0`… otherwise."""
    spec = network.module._out_spec
    paths = pytree.tree_flatten_with_path(
        pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    )[0]
    return [_output_name(path) for path, _ in paths]


def _output_name(path: tuple[Any, ...]) -> str:
    parts = [
        str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path
    ]
    if not parts or parts[0].isdigit():
        return "_".join(["output", *parts])
    return ".".join(parts)


def free_axes(network: Network) -> dict[str, Any]:
    """Which input axes may have any size, as `torch.export` wants it: those free at capture."""
    free = []
    for node in network.graph.nodes:
        if node.op == "placeholder":
            shape = getattr(node.meta.get("val"), "shape", ())
            axes = [axis for axis, size in enumerate(shape) if isinstance(size, torch.SymInt)]
            free.append(dict.fromkeys(axes, Dim.DYNAMIC) or None)
    spec = pytree.tree_structure((network.args, network.kwargs))
    args, kwargs = pytree.tree_unflatten(free, spec)
    names = inspect.signature(network.module.forward).parameters
    return {**dict(zip(names, args, strict=False)), **kwargs}
