"""Generates noise in the shapes that a file takes."""

import numpy as np

from tersor.data.given.feeds import Arrays
from tersor.errors import InvalidInputError
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.onnx.example_sizes import filled, from_note

_NOISE_SAMPLES = 8


def noise_inputs(runtime: Runtime, seed: int = 0) -> Arrays:
    """Generate random inputs for a file: normal floats, any 8-bit integers, and else 0 or 1.

    Args:
        runtime: The loaded file.
        seed: Seed of the random numbers.

    Raises:
        InvalidInputError: An axis other than the batch is free, and the file notes no size of it.
    """
    generator = np.random.default_rng(seed)
    found, noted = {}, from_note(runtime.metadata)
    for name, own in runtime.inputs.items():
        shape = filled(own, noted.get(name, ()))
        free = [axis for axis in shape[1:] if not isinstance(axis, int)]
        if free:
            raise InvalidInputError(
                f"input {name!r} has free axes {list(shape)}, so no noise of its shape can be "
                "generated; give inputs"
            )
        sizes = [axis if isinstance(axis, int) else _NOISE_SAMPLES for axis in shape]
        dtype = runtime.dtypes[name]
        found[name] = np.asarray(_draw(sizes, dtype, generator), dtype)
    return found


def _draw(sizes: list[int], dtype: np.dtype, generator: np.random.Generator) -> np.ndarray:
    if dtype.kind == "f":
        return generator.standard_normal(sizes)
    if dtype in (np.uint8, np.int8):
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max + 1, sizes)
    return generator.integers(0, 2, sizes)
