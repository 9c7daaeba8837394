"""Quantize: START READING HERE. `data_free` and `with_data` are the pipelines, a step a line.

Level 1 (no data) is Data-Free Quantization, arXiv 1906.04721: fold, equalize, absorb, place
quantizers, weight ranges, bias correction, activation ranges. Level 2 (a few unlabelled samples)
measures the activation ranges instead, and rounds the weights to minimize the error of each layer's
output, as AdaRound does, arXiv 2004.10568. Level 3, training, starts from either: see
`tersor.api.train`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tersor.api.frame import Frame, OnStep, split_bits
from tersor.api.held import held
from tersor.api.loading import opened
from tersor.api.steps import (
    ACTIVATION_RANGES,
    CAPTURE,
    CORRECT,
    STEPS,
    WEIGHT_RANGES,
    move_outliers,
    place_and_round,
    prepare,
    reshape,
)
from tersor.checked import checked
from tersor.data.given.feeds import Data
from tersor.data.given.samples import samples
from tersor.data.given.shown import captured_with
from tersor.data.runs.memory import trim
from tersor.data.runs.room import Memory, check_memory, room_for, told_if_full
from tersor.data.suitability.suitability import check_samples, check_trained
from tersor.data.walk.shelf import Shelf
from tersor.distributions.norm_inputs import read_norms
from tersor.distributions.propagation import propagate
from tersor.errors import InvalidInputError
from tersor.frontend.capture import Example, Keywords, Model
from tersor.frontend.dynamic import Dynamic
from tersor.graph.network import Network, OnLayer
from tersor.names import SchemeName
from tersor.quant.idle_options import check_options, check_range
from tersor.quant.in_float.within import check_tolerance, divided, tolerance_of
from tersor.quant.levels import DataFree, WithData
from tersor.quant.placement.patterns import patterns
from tersor.quant.ranges.calibrate import data_free_ranges, weight_ranges
from tersor.quant.ranges.far_ranges import tell_far_ranges
from tersor.quant.ranges.input_range import InputRange, assumed_inputs
from tersor.quant.ranges.overflow import guard_bias_overflow
from tersor.quant.rounding.bias import correct_bias
from tersor.quant.scheme import Scheme
from tersor.quant.schemes import find_scheme
from tersor.quant.shared_copy import shared_copy
from tersor.quant.tolerance import Allowed, Tolerance
from tersor.report.progress import shows_progress
from tersor.results.compressed import Compressed
from tersor.results.quantized import Quantized

T = TypeVar("T", DataFree, WithData)


@checked("model", "exclude", "input_range")
@shows_progress(len(STEPS))
@told_if_full()
def quantize(
    model: Model | str | Path,
    example: Example = None,
    *,
    kwargs: Keywords | None = None,
    dynamic: Dynamic | None = None,
    data: Data = None,
    scheme: SchemeName | Scheme = "onnxruntime-cpu",
    weights: int | Mapping[str, int] | None = None,
    activations: int | Mapping[str, int] | None = None,
    input_range: InputRange | None = None,
    exclude: Iterable[str] = (),
    options: DataFree | WithData | None = None,
    tolerance: Allowed | None = "auto",
    folder: str | Path | None = None,
    memory: Memory | None = None,
    on_step: OnStep | None = None,
    on_layer: OnLayer | None = None,
) -> Quantized:
    """Quantize a trained model: without data, or with a few unlabelled samples.

    Without data (level 1) this is DFQ, arXiv 1906.04721. With data (level 2) activation ranges
    are measured instead of predicted, and weights are rounded to minimize the error of each layer's
    output (AdaRound's objective, arXiv 2004.10568).

    Args:
        model: The float model, a loaded `torch.export` program, or the name of a file or function,
            as for `tersor.load`; or what `compress` made of one, which is then compared with the
            model that it was made of. It is never changed.
        example: One input tensor, a tuple of inputs, or a mapping of keyword inputs. Default: the
            first samples, if there are data.
        kwargs: Keyword inputs, in addition to the positional ones.
        dynamic: Axes of a module's inputs that may have any size in the network and in the file,
            with their names: name of an input → axis → name, as in
            `{"x": {0: "batch", 2: "height", 3: "width"}}`. Default: the batch, and heights and
            widths of pictures where the outputs grow with them, as in detectors.
        data: Unlabelled samples: a tensor, a tuple, a mapping, or any iterable of batches, such as
            a `DataLoader`. Labels that follow the inputs are dropped.
        scheme: The target runtime, by name or as a `Scheme`.
        weights: Bits of the weights, 2 to 16, for all layers, or by name of a layer or sub-module:
            `{"*": 4, "head": 8}`; the last pattern that names a layer counts. Default: the
            8 bits of the scheme.
        activations: Bits of the activations, 2 to 16, for all layers or by name. A name stands for
            the layer that reads the activation: `{"*": 4, "stem": 8}`. A number below 8 is for
            the layers between the first and the last, as in papers: these two, additions and
            pooling keep 8 bits, and so do the weights of the two. `{"*": 4}` leaves nothing out.
        input_range: Lowest and highest value of the inputs, for all inputs or by input name, if
            there are no data; `"pixels"` is 0…255, and `"imagenet"` what its mean and standard
            deviation make of them. Default: the range of the example, so a real example helps, and
            of 8-bit integers that of their type. If the example of a picture is noise, its range
            is a guess, and a warning says so.
        exclude: Names of layers and sub-modules that stay in floating point, such as `"head"`;
            `*` and `?` are wildcards. Excluding a sub-module excludes everything computed inside
            it.
        options: Which steps to take: `WithData` if there are data, otherwise `DataFree`.
        tolerance: Least signal-to-noise ratio in dB of each part of each output, on samples that
            are held back; as few layers as possible stay in floating point until it holds in the
            runtime. Or a `Tolerance` with a metric of your own. `"auto"`: where the verdict would
            be bad, scores not good, or single scores have less than 30 dB, layers stay in floating
            point, as far as the file is predicted to be no slower than that of the float model,
            unless bits are given. None: every layer that has an integer kernel and is faster for it
            is in integers.
        folder: Saves every layer that has been rounded with data, so that an interrupted run
            resumes from there.
        memory: What the process may hold while it rounds with data, such as `"2GB"`, or bytes.
            Values that find no room go to files, in `folder` or else the system's folder for
            temporary files; the result is the same to the bit. Default: half of what is free.
        on_step: Called with the name of each step before it runs. Default: a progress bar.
        on_layer: Called after each layer that is rounded with data, with its number, the number of
            layers, and its record.

    Returns:
        The quantized model. Its `records` list what each step did and what it refused.

    Raises:
        TersorError: The model, the example, the data or an option cannot be used. The message says
            what to do.
    """
    if data is not None and input_range is not None:
        raise InvalidInputError(
            "give data or input_range, not both: the range is measured from the data"
        )
    chosen = _chosen(options, DataFree) if data is None else _chosen(options, WithData)
    if folder is not None and not (isinstance(chosen, WithData) and chosen.rounding):
        raise InvalidInputError(
            f"folder={str(folder)!r} saves layers that are rounded with data, and no layer is "
            "rounded with data here. Leave out folder=, or give data="
        )
    check_memory(memory, data)
    check_tolerance(tolerance, data is not None)
    say = _after_trim(on_step)
    all_weights, weight_bits = split_bits(weights)
    all_activations, activation_bits = split_bits(activations)
    target = find_scheme(scheme).with_bits(all_weights, all_activations)
    check_options(target, chosen, folder)
    say(CAPTURE)
    model, example = opened(model, example)
    network, data = captured_with(model, example, kwargs, data, dynamic)
    floats = shared_copy(network), None
    if isinstance(model, Compressed):
        floats = model.original, floats[0]
    del model  # one that was loaded here is not needed any more
    names = patterns(exclude)
    frame = Frame(
        target, weight_bits, activation_bits, names, say=say, on_layer=on_layer, folder=folder
    )
    if isinstance(chosen, DataFree):
        matters = check_range(network, target, chosen, input_range)
        assumed = assumed_inputs(network, input_range, tell=matters)
        prepared = data_free(network, frame, assumed.ranges, chosen)
        return Quantized(network, floats[0], target, prepared, assumed, floats[1])
    plain = weights is None and activations is None
    held = tolerance_of(tolerance, plain and target.speed is not None)
    frame = replace(frame, shelf=Shelf(room_for(network, memory), folder))
    network, prepared = with_data(network, frame, data, chosen, held)
    return Quantized(network, floats[0], target, prepared, None, floats[1])


def data_free(
    network: Network,
    frame: Frame,
    inputs: Mapping[str, tuple[float, float]],
    options: DataFree,
) -> Network:
    """Run level 1 on a captured network, edited in place; returns the network before rounding.

    Args:
        network: The captured network.
        frame: The target and the callbacks.
        inputs: Input name → smallest and largest value; see `tersor.quant.ranges.input_range`.
        options: The options of the level.
    """
    check_trained(network)
    read_norms(network)
    prepare(network, frame, options.equalize, options.absorb)
    prepared = shared_copy(network)
    distributions = propagate(network, inputs, options.sigmas)
    frame.say(WEIGHT_RANGES)
    weight_ranges(network, frame.scheme.pair_safe, options.weight_range)
    frame.say(CORRECT)
    if options.correct_bias:
        correct_bias(network, distributions)
    frame.say(ACTIVATION_RANGES)
    data_free_ranges(network, distributions, inputs)
    guard_bias_overflow(network)
    return prepared


def with_data(
    network: Network,
    frame: Frame,
    data: Data,
    options: WithData,
    tolerance: Tolerance | None = None,
) -> tuple[Network, Network]:
    """Run level 2 on a captured network; returns the result, and the network before rounding."""
    batches = samples(network, data, options.samples, frame.shelf)
    check_samples(network, batches)
    used, judged = divided(batches, tolerance)
    reshape(network, frame, options.equalize, solved=options.rounding is not None)
    move_outliers(network, frame, used, options)
    if tolerance is None:
        found = place_and_round(network, frame, used, options)
    else:
        found = held(network, frame, options, tolerance, (used, judged))
    tell_far_ranges(found.network, used)
    return found.network, found.prepared


def _after_trim(on_step: OnStep | None) -> OnStep:
    """Give memory that is free back before each step."""

    def say(step: str) -> None:
        trim()
        if on_step is not None:
            on_step(step)

    return say


def _chosen(options: DataFree | WithData | None, kind: type[T]) -> T:
    """The given options, or the defaults of a level.

    Raises:
        InvalidInputError: The options belong to the other level.
    """
    if options is None:
        return kind()
    if not isinstance(options, kind):
        run, advice = ("with", "add") if kind is DataFree else ("without", "leave out")
        raise InvalidInputError(
            f"options={type(options).__name__} is for a run {run} data; give {kind.__name__}, or "
            f"{advice} data="
        )
    return options
