"""Makes an ordinary file of a file: of one opset, in float32, without functions.

What is computed stays the same. Whatever reads the file afterwards, or edits it, meets one form.
"""

from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, RemoveInitializersFromInputsPass, TopologicalSortPass

from tersor.frontend.onnx.fused_nodes import write_apart
from tersor.frontend.onnx.half import widen
from tersor.frontend.onnx.older_opsets import convert


def normalize(model: ir.Model) -> tuple[ir.Model, tuple[str, ...]]:
    """Bring a file into the form that everything else reads.

    Args:
        model: The file as it was loaded; not to be used afterwards.

    Returns:
        The file, and what was changed in it, in words that a user should read.

    Raises:
        InvalidModelError: The file names no opset.
        UnsupportedError: Its opset is too old or too new, or cannot be converted.
    """
    if model.functions:
        InlinePass()(model)
    RemoveInitializersFromInputsPass()(model)
    TopologicalSortPass()(model)
    for value in _values(model.graph):
        _open_sizes(value)
    model, converted = convert(model)
    widened = widen(model)
    return model, (*converted, *widened, *write_apart(model))


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph.all_nodes():
        yield from node.outputs


def _open_sizes(value: ir.Value) -> None:
    """Leave negative sizes open: exporters write them where they know none."""
    if value.shape is None or not any(isinstance(d, int) and d < 0 for d in value.shape):
        return
    value.shape = ir.Shape(
        ir.SymbolicDim(None) if isinstance(d, int) and d < 0 else d for d in value.shape
    )
