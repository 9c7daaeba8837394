"""Checks a file before it is written."""

from pathlib import Path

import onnx
import onnx_ir as ir
from torch import Tensor

from tersor.errors import ExportError, TersorError
from tersor.export.sessions.runtime import Runtime
from tersor.graph.footprint import output_nodes
from tersor.graph.network import Network


def check(path: Path, outline: onnx.ModelProto | None = None) -> None:
    """Check that a file is valid.

    onnx infers the shapes of some ops otherwise than runtimes compute them, and does not know some
    ops that they have. There the runtime decides.

    Args:
        path: The file.
        outline: What is checked of it, if that is not all: see `tersor.export.onnx.in_parts.Parts`.

    Raises:
        ExportError: It is not; says why.
    """
    try:
        onnx.checker.check_model(outline or path, full_check=True)
    except onnx.checker.ValidationError as error:
        if "No Op registered" not in str(error):  # runtimes have ops that onnx does not know
            raise _invalid(error) from error
        _load(path, error)
    except onnx.shape_inference.InferenceError as error:
        _check_in_runtime(path, error)


def _check_in_runtime(path: Path, error: Exception) -> None:
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError:
        raise _invalid(error) from error
    _load(path, error)


def _load(path: Path, error: Exception) -> None:
    try:
        Runtime(path, optimize=False)
    except TersorError:
        raise _invalid(error) from error


def _invalid(error: Exception) -> ExportError:
    return ExportError(f"the exported model is not valid ONNX: {' '.join(str(error).split())}")


def give_ranks(model: ir.Model, network: Network) -> None:
    """Give outputs whose shape the file does not tell as many open axes as they have.

    Args:
        model: The file; edited in place.
        network: The network.
    """
    for value, node in zip(model.graph.outputs, output_nodes(network), strict=False):
        found = node.meta.get("val")
        if value.shape is None and isinstance(found, Tensor):
            value.shape = ir.Shape([None] * found.ndim)
