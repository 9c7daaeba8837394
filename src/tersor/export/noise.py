"""Generates noise in the shapes that a file takes."""

import numpy as np

from tersor.data.feeds import Arrays
from tersor.errors import InvalidInputError
from tersor.export.runtime import Runtime

_NOISE_SAMPLES = 8


def noise_inputs(runtime: Runtime, seed: int = 0) -> Arrays:
    """Generate random inputs for a file: normal floats, integers and booleans of 0 and 1.

    Args:
        runtime: The loaded file.
        seed: Seed of the random numbers.

    Raises:
        InvalidInputError: An axis other than the batch is free.
    """
    generator = np.random.default_rng(seed)
    found = {}
    for name, shape in runtime.inputs.items():
        free = [axis for axis in shape[1:] if not isinstance(axis, int)]
        if free:
            raise InvalidInputError(
                f"input {name!r} has free axes {list(shape)}, so no noise of its shape can be "
                "generated; give inputs"
            )
        sizes = [axis if isinstance(axis, int) else _NOISE_SAMPLES for axis in shape]
        dtype = runtime.dtypes[name]
        is_float = dtype.kind == "f"
        drawn = generator.standard_normal(sizes) if is_float else generator.integers(0, 2, sizes)
        found[name] = np.asarray(drawn, dtype)
    return found
