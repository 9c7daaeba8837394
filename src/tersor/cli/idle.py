"""Refuse options that would have no effect, and name them."""

from collections.abc import Mapping
from pathlib import Path

from tersor.errors import InvalidInputError


def check_training(is_trained: bool, asked: Mapping[str, object]) -> None:
    """Refuse training options if nothing is trained.

    Args:
        is_trained: Whether there are samples for a training.
        asked: Name of an option → its value, or None if the user did not give it.

    Raises:
        InvalidInputError: A training option was given, but nothing is trained.
    """
    for name, value in asked.items():
        if value is not None and not is_trained:
            raise InvalidInputError(
                f"--{name} {value} has no effect without --train; give --train, or drop --{name}"
            )


def check_test(test: str | None, verify: bool, report: Path | None) -> None:
    """Refuse test samples if nothing is verified and no report is written.

    Args:
        test: The samples, if any.
        verify: Whether the file is verified.
        report: Where a report is written, if anywhere. Its layers are measured on the samples.

    Raises:
        InvalidInputError: Test samples were given, but nothing uses them.
    """
    if test is not None and not verify and report is None:
        raise InvalidInputError(
            f"--test {test} has no effect with --no-verify; drop one of the two"
        )


def check_samples(samples: int | None, data: str | None) -> None:
    """Refuse a number of samples if there are no samples.

    Args:
        samples: The number of samples, if the user gave one.
        data: Where samples come from, or None.

    Raises:
        InvalidInputError: A number was given without samples.
    """
    if samples is not None and data is None:
        raise InvalidInputError(
            f"--samples {samples} has no effect without --data; give --data, or drop --samples"
        )


def check_batch(batch: int | None, source: str | None, makes_batches: bool) -> None:
    """Refuse a batch size if the user's own code makes the batches.

    Args:
        batch: The batch size, if the user gave one.
        source: Where the batches come from, or None.
        makes_batches: Whether the user's own code makes the batches.

    Raises:
        InvalidInputError: A batch size was given, but the user's own code makes the batches.
    """
    if batch is not None and makes_batches:
        raise InvalidInputError(
            f"--batch {batch} has no effect: {source} makes its own batches; drop --batch"
        )
