"""Compare a quantized file with its float model, in the runtime that will serve it."""

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
from tersor.graph.network import Network
from tersor.quant.schemes import SCHEMES
from tersor.results.quantized import runtime_options


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
