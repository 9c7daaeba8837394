"""Inspect a model: its layers, and what each pass can and cannot do with them."""

from collections.abc import Callable
from pathlib import Path

from tersor.api.quantize import quantize
from tersor.checked import checked
from tersor.frontend.capture import Example, Keywords, Model
from tersor.frontend.dynamic import Dynamic
from tersor.graph.simplify import simplify
from tersor.names import SchemeName
from tersor.quant.scheme import Scheme
from tersor.report.describe import describe
from tersor.report.inspection import Inspection


@checked("model")
def inspect(
    model: Model | str | Path,
    example: Example = None,
    *,
    kwargs: Keywords | None = None,
    dynamic: Dynamic | None = None,
    scheme: SchemeName | Scheme = "onnxruntime-cpu",
    on_step: Callable[[str], None] | None = None,
) -> Inspection:
    """List the layers of a model, what each pass did, what it refused, and why.

    Args:
        model: As for `quantize`. It is never changed, and no file is written.
        example: As for `quantize`.
        kwargs: As for `quantize`.
        dynamic: As for `quantize`.
        scheme: As for `quantize`.
        on_step: As for `quantize`.

    Raises:
        TersorError: As for `quantize`.
    """
    quantized = quantize(
        model, example, kwargs=kwargs, dynamic=dynamic, scheme=scheme, on_step=on_step
    )
    folded = quantized.original.copy()
    simplify(folded)
    layers, equalized = describe(folded), describe(quantized.network)
    return Inspection(tuple(layers), tuple(equalized), quantized.summary())
