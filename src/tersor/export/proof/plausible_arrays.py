"""Inputs that two files may meet, where none are given: pictures in every usual range, or noise."""

from collections.abc import Iterator
from pathlib import Path

import torch

from tersor.data.given.feeds import Arrays
from tersor.data.invented.plausible import USUAL, picture_pixels
from tersor.data.invented.synthetic import is_picture_shape
from tersor.data.outputs.outputs import noise_to_signal
from tersor.export.proof.noise import noise_inputs
from tersor.export.sessions.runtime import Runtime

_NOISE = "noise"


def worst_arrays(file: Runtime, float_path: Path) -> tuple[Arrays, str]:
    """Make inputs on which a quantized file is worst, and say what they are.

    Args:
        file: The quantized file.
        float_path: The float file.

    Raises:
        InvalidInputError: An axis other than the batch is free.
    """
    kinds = list(_kinds(file))
    if len(kinds) == 1:
        return kinds[0]
    reference = Runtime(float_path)
    return max(kinds, key=lambda kind: _damage(file, reference, kind[0]))


def _kinds(file: Runtime) -> Iterator[tuple[Arrays, str]]:
    noise = noise_inputs(file)
    shapes = {
        name: x.shape
        for name, x in noise.items()
        if x.dtype.kind == "f" and is_picture_shape(x.shape)
    }
    if not shapes:
        yield noise, _NOISE
        return
    made = {name: picture_pixels(shape) for name, shape in shapes.items()}
    words = next(iter(made.values()))[1]
    for way in USUAL:
        if way.is_grey or all(shape[1] == 3 for shape in shapes.values()):
            pictures = {name: way.apply(pixels) for name, (pixels, _) in made.items()}
            arrays = {name: x.numpy().astype(noise[name].dtype) for name, x in pictures.items()}
            yield {**noise, **arrays}, f"{words} as {way.words}"


def _damage(file: Runtime, reference: Runtime, feed: Arrays) -> float:
    """Noise over signal; infinite where the outputs are no numbers."""
    outputs = [
        tuple(map(torch.from_numpy, runtime.run(arrays).values()))
        for runtime, arrays in ((file, feed), (reference, reference.renamed(feed)))
    ]
    found = noise_to_signal(outputs[:1], outputs[1:])
    return found if found == found else float("inf")
