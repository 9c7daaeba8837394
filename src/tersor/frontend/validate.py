"""Refuses models and examples that no algorithm could work with, before anything is captured."""

import keyword
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from tersor.errors import InvalidInputError, InvalidModelError

#: Names that every graph uses for something else.
TAKEN = {*dir(fx.GraphModule(nn.Module(), fx.Graph())), "_in_spec", "_out_spec", "self"}
TAKEN -= {"training"}
_UNFIT = re.compile(r"[\"\\\x00-\x1f\x7f]")  # in the source code that torch.fx writes
_STATISTICS = ("running_mean", "running_var")
_QUANTIZED_MODULES = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")


def check_model(model: nn.Module) -> None:
    """Refuse anything but a float `nn.Module` with usable weights.

    Raises:
        InvalidModelError: Names the module or tensor, what is wrong with it, and what to do.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise InvalidModelError("TorchScript cannot be captured; pass the nn.Module it came from")
    if not isinstance(model, nn.Module):
        raise InvalidModelError(f"the model is a {type(model).__name__}; pass {_instead(model)}")
    for name, module in model.named_modules():
        if type(module).__module__.startswith(_QUANTIZED_MODULES):
            raise InvalidModelError(
                f"{name!r} is already quantized ({type(module).__name__}); "
                "pass the float model instead"
            )
    tensors = [*model.named_parameters(), *model.named_buffers()]
    check_names(name for name, _ in tensors)
    for name, tensor in tensors:
        _check_tensor(name, tensor)


def _instead(model: object) -> str:
    """Say what to pass instead of something that is not a model."""
    if isinstance(model, tuple):
        return "its first item: `model, example = tersor.load(…)`"
    if hasattr(model, "network"):
        return "its `network` if that was compressed, or the float model if it was quantized"
    return "an nn.Module, or the program that torch.export.load returns"


def fitting(part: str) -> str:
    """Rewrite a part of a name so that a graph can hold it, with underscores where needed.

    Args:
        part: Any text without dots.
    """
    part = _UNFIT.sub("_", part)
    return f"{part}_" if keyword.iskeyword(part) else part


def check_names(names: Iterable[str]) -> None:
    """Refuse names of weights that a graph of `torch.export` cannot hold.

    Raises:
        InvalidModelError: Names the weight and the part of its name.
    """
    for name in names:
        first, *others = name.split(".")
        bad = [part for part in (first, *others) if keyword.iskeyword(part) or _UNFIT.search(part)]
        if bad or first in TAKEN:
            raise InvalidModelError(
                f"torch.export cannot hold {name!r}: rename {(*bad, first)[0]!r}, which is a "
                "Python keyword, an attribute of every graph, or contains quotes or backslashes"
            )


def _check_tensor(name: str, tensor: Tensor) -> None:
    if is_lazy(tensor) or tensor.is_meta:
        raise InvalidModelError(f"{name!r} has no values yet; load the weights first")
    _check_storage(name, tensor)
    if tensor.dtype in (torch.float16, torch.bfloat16):
        raise InvalidModelError(
            f"{name!r} is in half precision ({tensor.dtype}); pass model.float(), or a float32 "
            "file, instead"
        )
    if tensor.is_complex():
        raise InvalidModelError(f"{name!r} is complex ({tensor.dtype}); use real weights")
    bad = _unusable(name, tensor)
    if bad:
        raise InvalidModelError(
            f"{name!r} has {bad} NaN or infinite values of {tensor.numel()}; "
            "check the checkpoint that was loaded"
        )


def _unusable(name: str, tensor: Tensor) -> int:
    """How many values are NaN, or infinite where only a mask or a bound may be: in a buffer."""
    if not tensor.is_floating_point():
        return 0
    is_learned = isinstance(tensor, nn.Parameter) or name.endswith(_STATISTICS)
    ends = tensor.detach().aminmax() if tensor.numel() else ()  # NaN if one is; without a copy
    if not any((~end.isfinite() if is_learned else end.isnan()).item() for end in ends):
        return 0
    return int((~torch.isfinite(tensor) if is_learned else torch.isnan(tensor)).sum())


def _check_storage(name: str, tensor: Tensor) -> None:
    """Refuse a tensor that is not stored as a dense array of numbers."""
    if tensor.layout is not torch.strided or tensor.is_nested:
        raise InvalidModelError(f"{name!r} is sparse or nested; store tensor.to_dense() instead")
    if tensor.is_quantized or (tensor.is_floating_point() and tensor.dtype.itemsize == 1):
        raise InvalidModelError(
            f"{name!r} is already quantized ({tensor.dtype}); pass the float model instead"
        )
    if isinstance(tensor, nn.Parameter) and tensor.ndim > 1 and not tensor.numel():
        raise InvalidModelError(
            f"{name!r} has shape {tuple(tensor.shape)}: a layer without channels; remove it"
        )


def check_graph(graph: fx.Graph) -> None:
    """Refuse a captured graph that is already quantized, by Tersor or by another tool.

    Raises:
        InvalidModelError: Names the op and what to do.
    """
    for node in graph.nodes:
        if node.op == "call_function" and "quantize" in str(node.target):
            raise InvalidModelError(
                f"the model is already quantized (it calls {node.target}); "
                "pass the float model instead"
            )


def check_example(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse an example without a batch, without elements, or with NaN.

    Raises:
        InvalidInputError: Says what is wrong, and how an example looks.
    """
    tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    if not tensors:
        raise InvalidInputError(
            "the example holds no tensor; pass an input as the model takes it, for instance "
            "torch.randn(1, 3, 224, 224), or --example 1,3,224,224 on the command line"
        )
    if tensors[0].ndim == 0 or 0 in tensors[0].shape:
        raise InvalidInputError(
            f"the first example input has shape {tuple(tensors[0].shape)}; "
            "its first axis must be a batch of at least 1, and no axis may be empty"
        )
    for tensor in tensors:
        if tensor.is_meta or tensor.is_complex():
            what = "has no values" if tensor.is_meta else f"is complex ({tensor.dtype})"
            raise InvalidInputError(
                f"an example input of shape {tuple(tensor.shape)} {what}; pass real numbers"
            )
        if tensor.is_floating_point() and bool(tensor.isnan().any()):
            raise InvalidInputError(
                f"an example input of shape {tuple(tensor.shape)} holds NaN; pass a real input"
            )
