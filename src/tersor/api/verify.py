"""Compare a quantized file with its float model, in the runtime that will serve it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

import torch
from torch import nn
from torch.export import ExportedProgram

from tersor.api.loading import opened
from tersor.checked import checked
from tersor.data.given.feeds import Data, Labels
from tersor.data.outputs.outputs import Metric
from tersor.errors import InvalidInputError
from tersor.export.float_file import FloatFile
from tersor.export.proof.noise import noise_inputs
from tersor.export.proof.plausible_arrays import worst_arrays
from tersor.export.proof.same_model import check_same_model
from tersor.export.proof.verification import Verification
from tersor.export.proof.verify import Options
from tersor.export.proof.verify import verify as verify_file
from tersor.export.serving import serving
from tersor.export.sessions.runtime import Config, Runtime
from tersor.files import temporary_folder
from tersor.frontend.capture import Example, capture
from tersor.frontend.onnx.fixed_inputs import Fixed, write_fixed
from tersor.names import RuntimeName
from tersor.quant.schemes import SCHEMES
from tersor.results.base import Result
from tersor.results.quantized import runtime_of


@checked("reference")
def verify(
    reference: nn.Module | ExportedProgram | str | Path,
    path: str | Path,
    inputs: Data = None,
    *,
    example: Example = None,
    fix: Fixed | None = None,
    labels: Labels | None = None,
    config: Config | None = None,
    runtime: RuntimeName | None = None,
    latency: bool = True,
    metric: Metric | None = None,
    max_metric: float | None = None,
    exact: bool = False,
    on_step: Callable[[str], None] | None = None,
) -> Verification:
    """Compare a quantized ONNX file with its float model, both in the runtime of its scheme.

    Args:
        reference: The float model: an ONNX file, or anything that `quantize` and `load` accept. Of
            a saved result, its float model.
        path: The quantized file: `.onnx`, `.pte` for ExecuTorch, or `.pt2` for PyTorch.
        inputs: A tensor, tuple, mapping, or an iterable of batches. Default: for pictures,
            photographs or noise with their spectrum, in the usual range in which the file is worst;
            for other inputs, noise.
        example: The inputs with which the float model is captured. Default: the example that
            belongs to the model, or else noise.
        fix: Name of an input of a float `.onnx` file → its value, as it was given to `load`: the
            quantized file has no such input.
        labels: The class of each sample, in the order of the inputs.
        config: Session options that users of the file set. Default: those of the scheme for which
            the file was written.
        runtime: The runtime that users run the file in. Default: that of the scheme.
        latency: Whether to time the two files.
        metric: Your own metric, `metric(outputs, reference)`; higher is worse. It takes tensors, or
            tuples of them if there are several outputs, for up to 32 samples at a time.
        max_metric: The largest value of the metric that is good; it then decides the verdict.
        exact: Whether to compare the runtime with a simulation of its kernels' own arithmetic, too,
            on at most the first 64 samples: what differs is rounding, or a fault.
        on_step: Called with the name of each step before it runs.

    Raises:
        InvalidInputError: A file cannot be loaded, or the inputs do not fit the files.
    """
    file = serving("onnxruntime", Path(path)).load(path)
    scheme = SCHEMES.get(file.metadata.get("tersor.scheme", ""))
    usual, session = runtime_of(scheme) if scheme else ("onnxruntime", ())
    with _fixed(reference, fix) as given:
        if _is_file(given):
            check_same_model(given, file)
        floating = _floating(given, example, file)
        inputs, words = (inputs, "") if inputs is not None else _own_inputs(file, floating)
        options = Options(
            labels=labels,
            config=session if config is None else config,
            runtime=runtime or usual,
            latency=latency,
            metric=metric,
            max_metric=max_metric,
            exact=exact,
        )
        found = verify_file(floating, None, path, inputs, options, on_step=on_step)
    if scheme and not scheme.computes_integers:
        found = replace(found, kernels=())
    return replace(found, on_samples=not words, inputs=words)


def _own_inputs(file: Runtime, floating: FloatFile | Path) -> tuple[Data, str]:
    """Inputs for files that come without any, and what they are."""
    return worst_arrays(file, floating if isinstance(floating, Path) else floating.path())


@contextmanager
def _fixed(
    reference: nn.Module | ExportedProgram | str | Path, fix: Fixed | None
) -> Iterator[nn.Module | ExportedProgram | str | Path]:
    """The float model; of a file, a copy with stored values in place of some inputs."""
    if not fix:
        yield reference
        return
    if not isinstance(reference, str | Path) or Path(reference).suffix != ".onnx":
        raise InvalidInputError("fix gives values to inputs of an .onnx file; leave it out")
    with temporary_folder() as folder:
        copy = folder / "float.onnx"
        write_fixed(reference, fix, copy)
        yield copy


def _is_file(reference: object) -> TypeGuard[str | Path]:
    """Whether the float model is an ONNX file, which is compared as it is."""
    return isinstance(reference, str | Path) and Path(reference).suffix == ".onnx"


def _floating(
    reference: nn.Module | ExportedProgram | str | Path, example: Example, runtime: Runtime
) -> FloatFile | Path:
    """The float model of the comparison, captured unless it is an ONNX file."""
    if _is_file(reference):
        return Path(reference)
    reference, example = opened(reference, example)
    if isinstance(reference, Result):
        return FloatFile(reference.original)
    if example is None and isinstance(reference, nn.Module):
        example = tuple(torch.from_numpy(noise) for noise in noise_inputs(runtime).values())
    return FloatFile(capture(reference, example))
