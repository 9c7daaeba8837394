"""Refuse models and examples that no algorithm could work with, before anything is captured."""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from tersor.errors import InvalidInputError, InvalidModelError

_QUANTIZED_MODULES = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")


def check_model(model: nn.Module) -> None:
    """Refuse what is no float `nn.Module`, and weights that are unfit.

    Raises:
        InvalidModelError: Names the module or tensor, what is wrong with it, and what to do.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise InvalidModelError("TorchScript cannot be captured; pass the nn.Module it came from")
    if not isinstance(model, nn.Module):
        raise InvalidModelError(
            f"the model is a {type(model).__name__}; pass an nn.Module, or the program that "
            "torch.export.load returns"
        )
    for name, module in model.named_modules():
        if type(module).__module__.startswith(_QUANTIZED_MODULES):
            raise InvalidModelError(
                f"{name!r} is already quantized ({type(module).__name__}); "
                "pass the float model instead"
            )
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        _check_tensor(name, tensor)


def _check_tensor(name: str, tensor: Tensor) -> None:
    if is_lazy(tensor) or tensor.is_meta:
        raise InvalidModelError(f"{name!r} has no values yet; load the weights first")
    if tensor.is_quantized:
        raise InvalidModelError(
            f"{name!r} is already quantized ({tensor.dtype}); pass the float model instead"
        )
    if tensor.dtype in (torch.float16, torch.bfloat16):
        raise InvalidModelError(
            f"{name!r} is in half precision ({tensor.dtype}); pass model.float() instead"
        )
    if tensor.is_complex():
        raise InvalidModelError(f"{name!r} is complex ({tensor.dtype}), which is not supported")
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).sum())
        raise InvalidModelError(
            f"{name!r} has {bad} NaN or infinite values of {tensor.numel()}; "
            "check the checkpoint that was loaded"
        )


def check_graph(graph: fx.Graph) -> None:
    """Refuse a captured graph that quantizes, by Tersor or by another tool.

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
            "torch.randn(1, 3, 224, 224)"
        )
    if tensors[0].ndim == 0 or 0 in tensors[0].shape:
        raise InvalidInputError(
            f"the first example input has shape {tuple(tensors[0].shape)}; "
            "its first axis must be a batch of at least 1, and no axis may be empty"
        )
    for tensor in tensors:
        if tensor.is_floating_point() and bool(tensor.isnan().any()):
            raise InvalidInputError(
                f"an example input of shape {tuple(tensor.shape)} holds NaN; pass a real input"
            )
