"""Translates the options of the commands into arguments of the public functions."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tersor.api import loading
from tersor.data.given.samples import check_first, fixed_batch
from tersor.data.given.shown import captured_with
from tersor.data.given.sources import Source, find_source
from tersor.data.given.texts import TEXTS
from tersor.data.images import Pixels
from tersor.data.invented.synthetic import random_example
from tersor.errors import InvalidInputError
from tersor.frontend.load import input_types
from tersor.frontend.onnx.model import OnnxModel
from tersor.graph.network import Network
from tersor.quant.adaround import AdaRound
from tersor.quant.block_rounding import Blocks
from tersor.quant.fast_rounding import Rounding
from tersor.quant.levels import WithData
from tersor.quant.range_methods import MSE, ActivationRange, Entropy, MinMax, Percentile
from tersor.report.progress import Bar

_RANGES: dict[str, ActivationRange] = {
    "minmax": MinMax(),
    "percentile": Percentile(),
    "mse": MSE(),
    "entropy": Entropy(),
}
_IDLE = {  # option → solvers with which it has no effect
    "iterations": ("fast", "nearest"),
    "held_back": ("nearest",),
    "seed": ("nearest",),
    "work": ("nearest",),
}


def given(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Select the options that were given; the others keep the defaults of the public functions.

    Args:
        asked: Name → value, or None if the option was not given.
    """
    return {name: value for name, value in asked.items() if value is not None}


def sources(
    names: Iterable[str | None],
    resize: int | None,
    crop: int | None,
    mean: Any,
    std: Any,
    tokenizer: Path | None = None,
) -> list[Source | None]:
    """Find the samples that the user names.

    Args:
        names: The sources, each a name or None.
        resize: See `tersor.data.images.Pixels`.
        crop: See `tersor.data.images.Pixels`.
        mean: See `tersor.data.images.Pixels`; None stands for 0.
        std: See `tersor.data.images.Pixels`; None stands for 1.
        tokenizer: Turns texts into numbers.

    Raises:
        InvalidInputError: There are options for images but no images, or a tokenizer but no
            texts, or a source cannot be used.
    """
    wanted = list(names)
    pixels = Pixels(resize, crop, mean or Pixels.mean, std or Pixels.std)
    if pixels != Pixels() and not any(Path(name).is_dir() for name in wanted if name):
        raise InvalidInputError(
            "--resize, --crop, --mean and --std need a folder of images, and none is given; give "
            "one with --data or --test, or leave these options out"
        )
    if tokenizer is not None and not any(name.endswith(TEXTS) for name in wanted if name):
        raise InvalidInputError(
            f"--tokenizer {tokenizer} has no effect: it is for .txt files; give one with --data or "
            "--test, or leave it out"
        )
    return [None if name is None else find_source(name, pixels, tokenizer) for name in wanted]


def read(source: Source | None, bar: Bar) -> tuple[Any, Any]:
    """Return batches whose progress a bar shows, and their labels.

    Args:
        source: The samples, or None.
        bar: Counts the batches.
    """
    return (None, None) if source is None else (bar.track(source), source.labels)


def where(data: str | None, test: str | None, own: str = "the example inputs") -> str:
    """Say in words what a quantized model was verified on.

    Args:
        data: The samples that it was quantized with, if any.
        test: The samples to verify with, if any.
        own: What it is verified on if there are neither.
    """
    if test is None and data is not None:
        return f"on the samples it was quantized with, {data}; give --test for an independent test"
    return f"on {test}" if test else f"on {own}; give --test for a real test"


def example(
    model: Any, shapes: list[Any] | None, input_range: tuple[float, float] | None = None
) -> tuple[Any, ...] | None:
    """Draw random inputs of the shapes that the user gave, or else of those in an ONNX file.

    Args:
        model: The loaded model.
        shapes: The shapes, or None.
        input_range: Smallest and largest value of the inputs.
    """
    if shapes:
        known = model.rows if isinstance(model, OnnxModel) else {}
        rows = [known.get(x.name) for x in model.inputs] if known else []
        return random_example(shapes, input_range, types=input_types(model), rows=rows)
    return model.example(input_range) if isinstance(model, OnnxModel) else None


def captured(
    model: str,
    shapes: list[Any] | None,
    source: Source | None,
    dequantize: bool = False,
    input_range: tuple[float, float] | None = None,
    fix: list[Any] | None = None,
    custom_ops: Path | None = None,
    dynamic: list[Any] | None = None,
) -> Network:
    """Load and capture the model that the user names.

    The example is the one that the user gave, or the model's own, or else the first samples.

    Args:
        model: See `tersor.load`.
        shapes: See `example`.
        source: The samples, or None.
        dequantize: See `tersor.load`.
        input_range: See `example`.
        fix: Inputs of a file with their values.
        custom_ops: See `tersor.load`.
        dynamic: See `opened`.
    """
    fixed = dict(fix) if fix else None
    network, own = loading.opened(model, dequantize=dequantize, fix=fixed, custom_ops=custom_ops)
    if shapes or source is None:
        own = example(network, shapes, input_range) or own
    return captured_with(network, own, data=source, dynamic=opened(dynamic))[0]


def opened(dynamic: list[Any] | None) -> dict[str, dict[int, str]] | None:
    """Put the axes that the user wants open together, as `tersor.quantize` takes them.

    Args:
        dynamic: Inputs with their axes, or None.

    Raises:
        InvalidInputError: An input is named twice.
    """
    if not dynamic:
        return None
    found = dict(dynamic)
    if len(found) < len(dynamic):
        raise InvalidInputError(
            "--dynamic names an input twice; give all axes of an input at once, such as "
            "image:2=height,3=width"
        )
    return found


def fit(network: Network, source: Source | None) -> Source | None:
    """Put samples into batches that a network takes, and check that the first one fits.

    Args:
        network: The captured network.
        source: The samples, or None.

    Raises:
        InvalidInputError: The samples do not fit; the message gives both shapes.
    """
    if source is None:
        return None
    fitting = source.in_batches(fixed_batch(network))
    check_first(network, fitting)
    return fitting


def with_data(has_data: bool, has_input_range: bool, given: dict[str, Any]) -> WithData | None:
    """Turn the options of quantization with data into `WithData`, or None without data.

    Args:
        has_data: Whether there are data.
        has_input_range: Whether the user gave the range of the inputs.
        given: The options; None where the user did not give one.

    Raises:
        InvalidInputError: An option would have no effect.
    """
    named = [name for name, value in given.items() if value is not None]
    if not has_data:
        if named:
            raise InvalidInputError(f"{_flag(named[0])} needs data; give --data, too")
        return None
    if has_input_range:
        raise InvalidInputError(
            "give --data or --input-range, not both: the range is measured from the data"
        )
    solver = given["rounding"] or "fast"
    for name in named:
        if solver in _IDLE.get(name, ()):
            raise InvalidInputError(
                f"{_flag(name)} has no effect with --rounding {solver}; leave it out"
            )
    chosen = {
        "samples": given["samples"],
        "held_back": given["held_back"],
        "activation_range": _RANGES.get(given["ranges"]),
    }
    found = WithData(
        rounding=_solver(solver, given["iterations"], given["seed"] or 0),
        **{name: value for name, value in chosen.items() if value is not None},
    )
    return replace(found, smooth=None) if given["no_smooth"] else found


def _solver(name: str, iterations: int | None, seed: int) -> Rounding | AdaRound | Blocks | None:
    if name == "nearest":
        return None
    if name == "fast":
        return Rounding(seed=seed)
    solver = (
        AdaRound(seed=seed) if name == "adaround" else Blocks(seed=seed, start=Rounding(seed=seed))
    )
    return solver if iterations is None else replace(solver, iterations=iterations)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
