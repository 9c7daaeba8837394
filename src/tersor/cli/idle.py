"""Options that would do nothing are refused, each by its name."""

from collections.abc import Mapping
from pathlib import Path

from tersor.errors import InvalidInputError


def check_training(is_trained: bool, asked: Mapping[str, object]) -> None:
    """Refuse options of a training where there is none.

    Args:
        is_trained: Whether there are samples to train with.
        asked: Name of an option → its value, or None where the user did not give it.

    Raises:
        InvalidInputError: One was given.
    """
    for name, value in asked.items():
        if value is not None and not is_trained:
            raise InvalidInputError(f"--{name} {value} is for a training; give --train, too")


def check_test(test: str | None, verify: bool, report: Path | None) -> None:
    """Refuse samples to verify with where nothing is verified.

    Args:
        test: The samples, if any.
        verify: Whether the file is verified.
        report: Where a report goes, if anywhere; layers are measured on the samples for it.

    Raises:
        InvalidInputError: There are such samples.
    """
    if test is not None and not verify and report is None:
        raise InvalidInputError(f"--test {test} is for verifying; leave it out, or --no-verify")


def check_samples(samples: int | None, data: str | None) -> None:
    """Refuse a number of samples where there are none.

    Args:
        samples: The number, if the user gave it.
        data: Where samples come from, if from anywhere.

    Raises:
        InvalidInputError: There is a number.
    """
    if samples is not None and data is None:
        raise InvalidInputError(f"--samples {samples} goes with data; give --data, too")


def check_batch(batch: int | None, source: str | None, makes_batches: bool) -> None:
    """Refuse a size of batches where the user's own code makes them.

    Args:
        batch: The size, if the user gave it.
        source: Where the batches come from, if from anywhere.
        makes_batches: Whether that is the user's own code.

    Raises:
        InvalidInputError: There is a size.
    """
    if batch is not None and makes_batches:
        raise InvalidInputError(f"--batch {batch}: {source} makes its own batches; leave it out")
