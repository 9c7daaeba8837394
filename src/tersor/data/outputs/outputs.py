"""Compares what networks return: the damage that a change does to the outputs."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.core.metrics import signal_and_noise
from tersor.errors import InvalidInputError

Outputs = Any  # what a model returns: a tensor, or a structure of tensors
Metric = Callable[[Outputs, Outputs], float]  # outputs, reference → damage


def damage(outputs: list[Any], reference: list[Any], metric: Metric | None = None) -> float:
    """Measure the damage to what a network returns.

    Args:
        outputs: What the network returns, for every batch.
        reference: What the float network returns.
        metric: Measures the damage in one batch; the mean is taken. Default: `noise_to_signal`.
    """
    if metric is None:
        return noise_to_signal(outputs, reference)
    values = [float(metric(y, x)) for y, x in zip(outputs, reference, strict=True)]
    return sum(values) / len(values)


def noise_to_signal(outputs: list[Any], reference: list[Any]) -> float:
    """‖y − ŷ‖² / ‖y‖² over all batches, averaged over the outputs in floating point.

    Args:
        outputs: What the network returns, for every batch.
        reference: What the float network returns.

    Raises:
        InvalidInputError: The network returns no floating-point tensor.
    """
    pairs = [zip(*map(floats, both), strict=True) for both in zip(reference, outputs, strict=True)]
    energies = [[signal_and_noise(y, x) for y, x in batch] for batch in pairs]
    if not energies[0]:
        raise InvalidInputError(
            "the model returns nothing in floating point to measure noise in; give a metric"
        )
    return mean_share(energies)


def mean_share(energies: Sequence[Sequence[tuple[float, float]]]) -> float:
    """Noise over signal, averaged over what is told apart.

    Args:
        energies: Signal and noise of each output, or part of one, for every batch.
    """
    signal, noise = torch.tensor(energies, dtype=torch.float64).sum(0).unbind(-1)
    return float(torch.where(noise > 0, noise / signal, 0.0).mean())


def check_numbers(reference: list[Any]) -> None:
    """Check that the outputs of a float network are numbers, so that damage can be measured.

    Args:
        reference: What the network returns, for every batch.

    Raises:
        InvalidInputError: They hold NaN.
    """
    if any(bool(x.isnan().any()) for outputs in reference for x in floats(outputs)):
        raise InvalidInputError(
            "the outputs of the model hold NaN on the samples, so that no damage can be measured; "
            "leave such samples out, or find the op that makes them with `tersor diagnose`"
        )


def floats(outputs: Any) -> list[Tensor]:
    """Find all floating-point tensors in what a network returns.

    Args:
        outputs: Tensors, in any structure.
    """
    leaves = pytree.tree_leaves(outputs)
    return [x for x in leaves if isinstance(x, Tensor) and x.is_floating_point()]
