"""Derives everything random in a run from its seed, so that the run can be stopped and resumed.

The seed of an epoch determines the order of the batches and whatever is drawn to make them. The
seed of a step determines the rest, such as the noise of a loss; it does not affect later batches.
"""

import contextlib
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

_EPOCHS, _STEPS, _MIXES = 0, 1, 2


def seed_epoch(seed: int, epoch: int, batches: Any) -> None:
    """Seed torch, NumPy and `random`, and the generators of a `DataLoader`.

    Args:
        seed: Seed of the run.
        epoch: Number of the epoch.
        batches: The user's batches, perhaps a `DataLoader`.
    """
    number = _mixed(seed, _EPOCHS, epoch)
    torch.manual_seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002  (what users' datasets draw from)
    random.seed(number)
    if isinstance(batches, DataLoader):
        for owner in (batches, batches.sampler):
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator):
                generator.manual_seed(number)


def step_randomness(seed: int, step: int) -> AbstractContextManager[None]:
    """Make what torch draws inside depend on the number of the step only.

    Args:
        seed: Seed of the run.
        step: Number of the step.
    """
    return _drawn_for(seed, _STEPS, step)


def mixup_randomness(seed: int, step: int) -> AbstractContextManager[None]:
    """The same for what mixes the batch of a step, so that other draws do not depend on it.

    Args:
        seed: Seed of the run.
        step: Number of the step.
    """
    return _drawn_for(seed, _MIXES, step)


@contextlib.contextmanager
def _drawn_for(seed: int, kind: int, number: int) -> Iterator[None]:
    with torch.random.fork_rng(_devices()):
        torch.manual_seed(_mixed(seed, kind, number))
        yield


@contextlib.contextmanager
def own_randomness() -> Iterator[None]:
    """Restore the state of all random generators at the end."""
    kept, drawn = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(_devices()):
        try:
            yield
        finally:
            random.setstate(kept)
            np.random.set_state(drawn)  # noqa: NPY002


def _mixed(seed: int, kind: int, number: int) -> int:
    """Mix numbers into one seed for each epoch and each step, far from other seeds."""
    return int(
        np.random.SeedSequence([seed % 2**63, kind, number]).generate_state(1, np.uint64)[0] >> 1
    )


def _devices() -> list[int]:
    return [torch.cuda.current_device()] if torch.cuda.is_available() else []
