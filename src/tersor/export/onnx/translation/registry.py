"""PyTorch's translations of ops to ONNX, and its decompositions of those that have none."""

from collections.abc import Callable
from functools import cache
from typing import Any

from onnxscript.function_libs.torch_lib import ops, registration
from torch.onnx._internal.exporter import _decomp
from torch.onnx._internal.exporter._registration import (
    OnnxDecompMeta,
    ONNXRegistry,
    _get_overload,
)
from torch.onnx._internal.exporter._torchlib._torchlib_registry import get_torchlib_ops

_INTERNAL = "internal::"  # functions that translations call


@cache
def registry(opset: int, custom: tuple[tuple[Any, Any], ...]) -> ONNXRegistry:
    """The translations into one version of the operator set.

    Args:
        opset: The version.
        custom: Further ops with their translations.
    """
    table = _from_torchlib(opset)
    for op, function in custom:
        table.register_op(op, function)
    return table


def _from_torchlib(opset: int) -> ONNXRegistry:
    """As the function of PyTorch: it parses the source of each translation, and reads none."""
    assert ops  # its modules register their functions
    table = ONNXRegistry()
    table._opset_version = opset
    for meta in get_torchlib_ops():
        table._register(meta.fx_target, meta)
    for name, known in registration.default_registry.items():
        target = None if name.startswith(_INTERNAL) else _get_overload(name)
        if target is None:
            continue
        for is_complex, functions in ((False, known.overloads), (True, known.complex)):
            for function in functions:
                found = OnnxDecompMeta(function, target, None, is_complex=is_complex)
                table._register(target, found)
    table._cleanup_registry_based_on_opset_version()
    return table


@cache
def decompositions(table: ONNXRegistry) -> dict[Any, Callable[..., Any]]:
    """The decompositions of ops that have no translation.

    Args:
        table: The translations.
    """
    return _decomp.create_onnx_friendly_decomposition_table(
        set(_decomp.get_onnx_implemented_overloads(table))
    )
