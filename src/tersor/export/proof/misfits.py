"""Says what is wrong with the outputs of a file, beyond what quantization costs."""

from collections.abc import Iterator, Mapping

import numpy as np

from tersor.data.given.feeds import Arrays
from tersor.errors import InvalidInputError
from tersor.export.proof.tally import Comparison
from tersor.export.sessions.runtime import Runtime

_SOUND = 100.0  # dB of a file against its simulation; equal but for float32 rounding, it has 140
_APART = 3.0  # dB: sums in the middle of two integers cost less
_WHOSE = {"float": "the float model", "runtime": "the file"}

Outputs = Mapping[str, Comparison]


def check_numbers(feed: Arrays) -> None:
    """Refuse inputs that hold NaN.

    Args:
        feed: The inputs by name.

    Raises:
        InvalidInputError: One does.
    """
    for name, array in feed.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise InvalidInputError(f"input {name!r} holds NaN; clean the samples first")


def samples_without_numbers(values: np.ndarray) -> int:
    """Count the samples of an output that hold NaN.

    Args:
        values: The output for a batch.
    """
    if values.dtype.kind != "f" or not values.size:
        return 0
    return int(np.isnan(values).reshape(len(values) if values.ndim else 1, -1).any(1).sum())


def without_numbers(counts: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """Say which outputs hold NaN.

    Args:
        counts: Model and output → number of samples.
    """
    for (model, output), count in counts.items():
        if count and model in _WHOSE:
            yield (
                f"output {output!r} of {_WHOSE[model]} holds NaN on {count} samples; give samples "
                "on which it has values, or look for the op that makes them"
            )


def other_than_simulated(exported: Outputs, simulated: Outputs, exact: Outputs) -> Iterator[str]:
    """Say which outputs of the file are not those of the simulation, even without integer kernels.

    A sum in the middle of two integers may become either, which the layers behind amplify. That
    costs nothing on average, so the distance to float tells it from a file that is wrong.

    Args:
        exported: The file without integer kernels, against the simulation.
        simulated: The simulation, against the float model.
        exact: The file without integer kernels, against the float model.
    """
    for name, found in exported.items():
        lost = simulated[name].sqnr - exact[name].sqnr
        if found.sqnr < _SOUND and lost > _APART:
            yield (
                f"output {name!r} of the file is not what was simulated: {found.sqnr:.1f} dB "
                f"without integer kernels, and {lost:.1f} dB further from float; export it again"
            )


def check_outputs(before: Runtime, after: Runtime) -> None:
    """Refuse two files whose outputs cannot be compared one by one.

    Args:
        before: The float file.
        after: The quantized one.

    Raises:
        InvalidInputError: Names the outputs of both.
    """
    lengths = [(len(file.outputs), len(file.compared)) for file in (before, after)]
    if lengths[0] != lengths[1]:
        raise InvalidInputError(
            f"the float model has outputs {list(before.outputs)}, the quantized one "
            f"{list(after.outputs)}"
        )
