"""Look at a model, and compare a file with one: nothing is written."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from tersor.export.inputs import noise_inputs
from tersor.export.runtime import Runtime
from tersor.export.verify import Verification
from tersor.export.verify import verify as verify_file
from tersor.frontend.capture import capture
from tersor.frontend.load import load
from tersor.graph.describe import describe
from tersor.graph.network import Network
from tersor.graph.simplify import simplify
from tersor.quant.scheme import Scheme
from tersor.quant.schemes import SCHEMES
from tersor.quantized import runtime_options
from tersor.recipes import quantize
from tersor.report.inspection import Inspection


def inspect(
    model: nn.Module | ExportedProgram,
    example: Any = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    scheme: str | Scheme = "onnxruntime-cpu",
    on_step: Callable[[str], None] | None = None,
) -> Inspection:
    """List the layers of a model, and what each pass could and could not do, and why.

    Args:
        model: As for `quantize`. It is never changed, and nothing is written.
        example: As for `quantize`.
        kwargs: As for `quantize`.
        scheme: As for `quantize`.
        on_step: As for `quantize`.

    Raises:
        TersorError: As for `quantize`.
    """
    quantized = quantize(model, example, kwargs=kwargs, scheme=scheme, on_step=on_step)
    folded = quantized.original.copy()
    simplify(folded)
    layers, equalized = describe(folded), describe(quantized.network)
    return Inspection(tuple(layers), tuple(equalized), quantized.summary())


def verify(
    reference: nn.Module | ExportedProgram | str | Path,
    path: str | Path,
    inputs: Any = None,
    *,
    example: Any = None,
    **options: Any,
) -> Verification:
    """Compare a quantized ONNX file with its float model, both in the runtime it was written for.

    Args:
        reference: The float model: an ONNX file, or whatever `quantize` and `load` take.
        path: The quantized ONNX file. The session options of the scheme it was written for apply.
        inputs: A tensor, tuple, mapping, or an iterable of batches. Default: noise of the shapes
            that the file takes.
        example: What the float model is captured with. Default: its own, or else noise.
        options: Passed on to `tersor.export.verify.verify`.

    Raises:
        InvalidInputError: A file cannot be loaded, or inputs and files do not fit each other.
    """
    runtime = Runtime(path)
    scheme = SCHEMES.get(runtime.metadata.get("tersor.scheme", ""))
    options = {**(runtime_options(scheme) if scheme else {}), **options}
    inputs = noise_inputs(runtime) if inputs is None else inputs
    floating = _floating(reference, example, runtime)
    return verify_file(floating, None, path, inputs, **options)


def _floating(
    reference: nn.Module | ExportedProgram | str | Path, example: Any, runtime: Runtime
) -> Network | Path:
    """The float side of a comparison, captured unless it is an ONNX file."""
    if isinstance(reference, str | Path):
        if Path(reference).suffix == ".onnx":
            return Path(reference)
        reference, own = load(reference)
        example = own if example is None else example
    if example is None and isinstance(reference, nn.Module):
        example = tuple(torch.from_numpy(noise) for noise in noise_inputs(runtime).values())
    return capture(reference, example)
