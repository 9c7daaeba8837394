"""What the options of the commands mean for the public functions."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from tersor.data.feeds import split_labels
from tersor.data.images import Pixels
from tersor.data.samples import check_first, fixed_batch
from tersor.data.sources import Source, find_source
from tersor.data.synthetic import example_tensors, random_example
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.frontend.load import input_types, load
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
_IDLE = {  # option → where it would do nothing
    "iterations": ("fast", "nearest"),
    "held_back": ("nearest",),
    "seed": ("nearest",),
    "work": ("nearest",),
}


def given(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given; the others keep the defaults of the public functions.

    Args:
        asked: Name → value, or None.
    """
    return {name: value for name, value in asked.items() if value is not None}


def sources(
    names: Iterable[str | None], resize: int | None, crop: int | None, mean: Any, std: Any
) -> list[Source | None]:
    """The samples that the user names.

    Args:
        names: Each a source, or None.
        resize: See `tersor.data.images.Pixels`, as for the others.
        crop: As above.
        mean: As above; None leaves it at 0.
        std: As above; None leaves it at 1.

    Raises:
        InvalidInputError: There are no images to change, or a source is unfit.
    """
    wanted = list(names)
    pixels = Pixels(resize, crop, mean or Pixels.mean, std or Pixels.std)
    if pixels != Pixels() and not any(Path(name).is_dir() for name in wanted if name):
        raise InvalidInputError(
            "--resize, --crop, --mean and --std go with a folder of images, and none is given"
        )
    return [None if name is None else find_source(name, pixels) for name in wanted]


def read(source: Source | None, bar: Bar) -> tuple[Any, Any]:
    """Batches that a bar counts, and their labels.

    Args:
        source: The samples, or None.
        bar: The bar.
    """
    return (None, None) if source is None else (bar.track(source), source.labels)


def where(data: str | None, test: str | None) -> str:
    """What a quantized model was verified on, in words.

    Args:
        data: The samples it was made with, if any.
        test: Those to verify with, if any.
    """
    if test is None and data is not None:
        return f"on the samples it was made with, {data}; give --test for a real test"
    return f"on {test}" if test else "on the example inputs; give --test for a real test"


def example(
    model: Any, shapes: list[Any] | None, input_range: tuple[float, float] | None = None
) -> tuple[Any, ...] | None:
    """Random inputs of the shapes that the user gave, or else of those in an ONNX file.

    Args:
        model: What was loaded.
        shapes: The shapes, or None.
        input_range: Smallest and largest value.
    """
    if shapes:
        return random_example(shapes, input_range, types=input_types(model))
    return model.example(input_range) if isinstance(model, OnnxModel) else None


def untold(network: Network, data: str | None, input_range: Any) -> list[str]:
    """What the user should know who told nothing about the inputs, one sentence for each of them.

    Args:
        network: The captured network.
        data: The samples, if any.
        input_range: Smallest and largest value, if the user told them.
    """
    if data is not None or input_range is not None:
        return []
    return [
        f"Input {name!r} was taken to lie within {x.min():.3g}…{x.max():.3g}, as its example "
        "does; if real ones do not, tell --input-range or give --data."
        for name, x in example_tensors(network).items()
        if x.is_floating_point()
    ]


def captured(
    model: str,
    shapes: list[Any] | None,
    source: Source | None,
    dequantize: bool = False,
    input_range: tuple[float, float] | None = None,
) -> Network:
    """The model that the user names, captured with an example: given, its own, or of the samples.

    Args:
        model: See `tersor.frontend.load.load`.
        shapes: See `example`.
        source: The samples, or None.
        dequantize: See `tersor.frontend.load.load`.
        input_range: See `example`.
    """
    network, own = load(model, dequantize=dequantize)
    given = example(network, shapes, input_range) or own
    if given is None and source and isinstance(network, nn.Module):
        given = first_example(source)
    return capture(network, given)


def first_example(source: Source) -> Any:
    """The first batch as an example for a model that brings none; labels behind it are dropped.

    Args:
        source: The samples.
    """
    batch = next(iter(source))
    if isinstance(batch, tuple | list):
        batch = tuple(split_labels(batch, len(batch) - 1)[0])
    return pytree.tree_map_only(np.ndarray, _tensor, batch)


def _tensor(array: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    return tensor.float() if tensor.is_floating_point() else tensor


def fit(network: Network, source: Source | None) -> Source | None:
    """The samples in batches that a network takes, once the first has been looked at.

    Args:
        network: The captured network.
        source: The samples, or None.

    Raises:
        InvalidInputError: They do not fit; names both shapes.
    """
    if source is None:
        return None
    fitting = source.in_batches(fixed_batch(network))
    check_first(network, fitting)
    return fitting


def widths(
    weights: int | None, layers: list[tuple[str, int]] | None, average: float | None = None
) -> Any:
    """Bits of the weights as `tersor.quantize` takes them.

    Args:
        weights: Bits of all layers, or None.
        layers: Names of layers with bits of their own.
        average: Bits per weight, if the others are to be searched for.

    Raises:
        InvalidInputError: All layers are given bits, and bits are to be searched for as well.
    """
    if average is not None and weights is not None:
        raise InvalidInputError(
            "--weights gives all layers bits, and --average-bits searches for them; leave out one"
        )
    if not layers:
        return weights
    found = {} if weights is None else {"*": weights}
    for name, bits in layers:
        found.pop(name, None)  # the last counts, so it goes to the end
        found[name] = bits
    return found


def with_data(has_data: bool, has_input_range: bool, given: dict[str, Any]) -> WithData | None:
    """What the options of quantization with data say.

    Args:
        has_data: Whether there are data.
        has_input_range: Whether the user told the range of the inputs.
        given: The options; None where the user did not give one.

    Raises:
        InvalidInputError: An option does nothing here.
    """
    named = [name for name, value in given.items() if value is not None]
    if not has_data:
        if named:
            raise InvalidInputError(f"{_flag(named[0])} goes with data; give --data, too")
        return None
    if has_input_range:
        raise InvalidInputError("--input-range is what --data show by themselves; leave out one")
    solver = given["rounding"] or "fast"
    for name in named:
        if solver in _IDLE.get(name, ()):
            raise InvalidInputError(f"{_flag(name)} does nothing with --rounding {solver}")
    chosen = {
        "samples": given["samples"],
        "held_back": given["held_back"],
        "activation_range": _RANGES.get(given["ranges"]),
    }
    return WithData(
        rounding=_solver(solver, given["iterations"], given["seed"] or 0),
        **{name: value for name, value in chosen.items() if value is not None},
    )


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
