"""The named pipelines: START READING HERE. Each line is one step, and each step is one file.

Level 1 (no data) is Data-Free Quantization, arXiv 1906.04721: fold, equalize, absorb, place
quantizers, weight ranges, bias correction, activation ranges.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.export import ExportedProgram

from tersor.export import openvino
from tersor.export.inputs import noise_inputs
from tersor.export.onnx import ExportResult, export_onnx
from tersor.export.runtime import Runtime
from tersor.export.verify import Verification
from tersor.export.verify import verify as verify_file
from tersor.graph.capture import capture
from tersor.graph.constants import materialize_weights
from tersor.graph.describe import describe
from tersor.graph.load import load
from tersor.graph.network import Network, Record
from tersor.graph.propagation import propagate
from tersor.passes.absorb import Absorb, absorb
from tersor.passes.equalize import Equalize, equalize
from tersor.passes.fold import fold
from tersor.quant.bias import correct_bias
from tersor.quant.calibrate import (
    MSE,
    MinMax,
    RangeMethod,
    data_free_ranges,
    input_ranges,
    weight_ranges,
)
from tersor.quant.overflow import guard_bias_overflow
from tersor.quant.place import place
from tersor.quant.scheme import Scheme
from tersor.quant.schemes import SCHEMES, find_scheme
from tersor.quant.synthetic import example_inputs
from tersor.report.inspection import Inspection
from tersor.report.summary import Summary, summarize

STEPS = (
    "capture the model",
    "fold BatchNorm",
    "equalize channel ranges",
    "place quantizers",
    "choose weight ranges",
    "correct biases",
    "choose activation ranges",
)
OnStep = Callable[[str], None]


@dataclass(frozen=True)
class DataFree:
    """What level 1 does; `PAPER` is the paper's own pipeline.

    Attributes:
        equalize: Options of cross-layer equalization, or None to leave it out. `"auto"` chooses
            for the scheme: see `equalization`.
        absorb: Options of high-bias absorption, or None to leave it out. Only the paper's
            equalization, which looks at weights alone, makes biases so high that it pays.
        weight_range: How to choose weight ranges: `MinMax`, `Percentile` or `MSE` of
            `tersor.quant.calibrate`. By default the smallest squared error below 8 bits, where
            outliers are dear (white paper arXiv 2106.08295, §3.1), and else min-max. 8-bit
            weights of a pair-safe scheme keep their pair-safe range, whatever is chosen.
        correct_bias: Whether to take the expected rounding error out of each bias.
        sigmas: Activation ranges reach this many standard deviations from the mean.
    """

    equalize: Equalize | Literal["auto"] | None = "auto"
    absorb: Absorb | None = None
    weight_range: RangeMethod | None = None
    correct_bias: bool = True
    sigmas: float = 6.0


PAPER = DataFree(equalize=Equalize(), absorb=Absorb(borders=True))


@dataclass
class Quantized:
    """A quantized model: call it, look at it, export it, prove it.

    Attributes:
        network: The simulation. `network.module` is an ordinary PyTorch module.
        original: The captured float model.
        scheme: The integer format.
    """

    network: Network
    original: Network
    scheme: Scheme

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Simulate the quantized model, with the signature of the original."""
        return self.network(*args, **kwargs)

    @property
    def records(self) -> list[Record]:
        """What every step did or refused, in order."""
        return self.network.records

    def summary(self) -> Summary:
        """The records counted per step, with the refusals grouped by reason; print it."""
        return summarize(self.records)

    def export(self, path: str | Path, opset: int = 21, storage: str = "int8") -> ExportResult:
        """Write the ONNX file; see `tersor.export.onnx.export_onnx`."""
        return export_onnx(self.network, path, opset=opset, scheme=self.scheme, storage=storage)

    def verify(self, path: str | Path, inputs: Any = None, **options: Any) -> Verification:
        """Compare simulation, exported file and float model in the runtime of the scheme.

        Without OpenVINO, files for it are verified in onnxruntime; the result names the runtime.

        Args:
            path: The file that `export` wrote.
            inputs: A tensor, tuple, mapping, or an iterable of batches. Default: the example.
            options: Passed on to `tersor.export.verify.verify`.
        """
        if inputs is None:
            every = example_inputs(self.original)
            inputs = {name: x for name, x in every.items() if isinstance(x, torch.Tensor)}
        options = {**_runtime(self.scheme), **options}
        return verify_file(self.original, self.network, path, inputs, **options)


def quantize(
    model: nn.Module | ExportedProgram | Network,
    example: Any = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    scheme: str | Scheme = "onnxruntime-cpu",
    weights: int | None = None,
    activations: int | None = None,
    input_range: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None,
    exclude: Iterable[str] = (),
    options: DataFree = DataFree(),
    on_step: OnStep | None = None,
) -> Quantized:
    """Quantize a trained model without data (level 1, DFQ, arXiv 1906.04721).

    Args:
        model: The float model, a loaded `torch.export` program, or what `capture` made of one. It
            is never changed.
        example: One input tensor, a tuple of inputs, or a mapping of keyword inputs.
        kwargs: Keyword inputs beside positional ones.
        scheme: The target runtime, by name or as a `Scheme`.
        weights: Bits of the weights, 2 to 16; default: the scheme's 8.
        activations: Bits of the activations, 2 to 16; default: the scheme's 8.
        input_range: Lowest and highest value of the inputs, for all or by input name. Default:
            what the example holds, which a real example makes better.
        exclude: Names of layers and sub-modules that stay in floating point, such as `"head"`;
            `*` and `?` are wildcards. Of a sub-module everything does, functions included.
        options: Which steps to take.
        on_step: Called with the name of each step before it runs.

    Returns:
        The quantized model; its `records` tell what each step did and what it refused.

    Raises:
        TersorError: The model, the example or an option is unfit; the message says what to do.
    """
    say = on_step or (lambda _: None)
    target = find_scheme(scheme).with_bits(weights, activations)
    say(STEPS[0])
    network = model.copy() if isinstance(model, Network) else capture(model, example, kwargs)
    original = network.copy()
    data_free(network, target, input_range, exclude, options, say)
    return Quantized(network, original, target)


def equalization(scheme: Scheme) -> Equalize:
    """The equalization that suits a target.

    With one scale per weight channel only the activations are left to equalize. With one scale per
    layer, weights and activations share what imbalance there is.
    """
    if scheme.per_channel:
        return Equalize(strength=0.0, clipped="common")
    return Equalize(strength=0.25)


def data_free(
    network: Network,
    scheme: Scheme,
    input_range: tuple[float, float] | Mapping[str, tuple[float, float]] | None,
    exclude: Iterable[str],
    options: DataFree,
    say: OnStep,
) -> None:
    """The pipeline of level 1 on a captured network, edited in place."""
    inputs = input_ranges(network, input_range)
    say(STEPS[1])
    materialize_weights(network)
    fold(network)
    say(STEPS[2])
    if options.equalize is not None:
        equalize(network, equalization(scheme) if options.equalize == "auto" else options.equalize)
    if options.absorb is not None:
        absorb(network, options.absorb)
    say(STEPS[3])
    place(network, scheme, exclude)
    distributions = propagate(network, inputs, options.sigmas)
    say(STEPS[4])
    default = MinMax() if scheme.weight.bits >= 8 else MSE()
    weight_ranges(network, scheme.pair_safe, options.weight_range or default)
    say(STEPS[5])
    if options.correct_bias:
        correct_bias(network, distributions)
    say(STEPS[6])
    data_free_ranges(network, distributions, inputs)
    guard_bias_overflow(network)


def inspect(
    model: nn.Module | ExportedProgram,
    example: Any = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    scheme: str | Scheme = "onnxruntime-cpu",
    on_step: OnStep | None = None,
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
    materialize_weights(folded)
    fold(folded)
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
    options = {**(_runtime(scheme) if scheme else {}), **options}
    inputs = noise_inputs(runtime) if inputs is None else inputs
    floating = _floating(reference, example, runtime)
    return verify_file(floating, None, path, inputs, **options)


def _runtime(scheme: Scheme) -> dict[str, Any]:
    """Where files of a scheme are verified, as options of `verify`."""
    is_here = scheme.runtime != openvino.NAME or openvino.is_installed()
    return {"runtime": scheme.runtime if is_here else "onnxruntime", "config": scheme.session}


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
