"""Converts what a user gives as batches to the arguments of a network, epoch by epoch.

Every process draws the same batches and takes its share of each, so what is learned does not depend
on the number of processes. A resumed run draws the batches of an epoch that it has seen once more.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.core.mixup import mixed, partners
from tersor.data.given.feeds import Data, in_order, input_names
from tersor.data.walk.observe import Batch
from tersor.errors import InvalidInputError
from tersor.graph.network import Network
from tersor.training.seeds import mixup_randomness, own_randomness, seed_epoch

Batches = Iterable[Data] | Callable[[], Iterable[Data]]


@dataclass(frozen=True)
class FedBatch:
    """One batch, or the share of one process.

    Attributes:
        inputs: Arguments of the network.
        targets: The targets, for the user's loss.
        share: This process's part over its fair share: 1, unless batches do not divide evenly.
    """

    inputs: Batch
    targets: Any
    share: float = 1.0


class Feed:
    """The batches of every epoch.

    Attributes:
        network: The network.
        batches: The user's batches.
        labelled: Whether a batch is a pair `(inputs, targets)`.
        seed: Seed of the run.
    """

    def __init__(self, network: Network, batches: Batches, labelled: bool, seed: int) -> None:
        self.network, self.batches = network, _many(batches)
        self.labelled, self.seed = labelled, seed
        self.names = input_names(network)
        self._examples = network.args, network.kwargs

    @property
    def length(self) -> int | None:
        """The number of batches in an epoch, if that is known."""
        size = getattr(self.batches, "__len__", None)
        try:
            return None if size is None else int(size())
        except TypeError:  # a DataLoader over a stream
            return None

    def total(self, epochs: int, steps: int | None) -> int:
        """Compute how many batches a run takes.

        Args:
            epochs: Number of epochs.
            steps: Number of batches, instead of epochs.

        Raises:
            InvalidInputError: The number of batches cannot be known.
        """
        length = self.length
        if steps is None and length is None:
            raise InvalidInputError(
                f"the number of batches in a {type(self.batches).__name__} is not known; set the "
                "number to take with Training(steps=…)"
            )
        return steps or epochs * (length or 0)

    def stream(
        self, first: int = 0, part: tuple[int, int] = (0, 1), mixup: float = 0.0
    ) -> Iterator[FedBatch]:
        """Iterate over batches without end, epoch by epoch.

        Args:
            first: Number of batches to skip.
            part: The index of this process, and their number; a batch is divided among them.
            mixup: α of `tersor.core.mixup`; with 0, samples stay as they are.

        Raises:
            InvalidInputError: There is no batch, or one does not fit.
        """
        step = first
        number, left = divmod(first, self.length) if self.length else (0, first)
        while True:
            seed_epoch(self.seed, number, self.batches)
            count = 0
            for batch in self.batches() if callable(self.batches) else self.batches:
                count += 1
                if left:
                    left -= 1
                else:
                    yield self.example(batch, part, mixup, step)
                    step += 1
            if not count:
                raise InvalidInputError("batches hold no batch; give at least one")
            number += 1

    def inputs(self, samples: int | None = None, batches: int | None = None) -> Iterator[Batch]:
        """Collect the inputs of the first batches, on the device of the network.

        Args:
            samples: Stop after this many samples.
            batches: Stop after this many batches.
        """
        devices = [x.device for x in pytree.tree_leaves(self._examples) if isinstance(x, Tensor)]
        count = 0
        with own_randomness():
            for example in islice(self.stream(), batches):
                yield to_device(example.inputs, devices[0])
                count += _size(example.inputs)
                if samples is not None and count >= samples:
                    break

    def first(self, batches: int) -> dict[str, Tensor]:
        """All tensors of the first batches, with their targets, by position.

        Args:
            batches: The number of batches.
        """
        with own_randomness():
            leaves = pytree.tree_leaves(
                [(x.inputs, x.targets) for x in islice(self.stream(), batches)]
            )
        found = [torch.as_tensor(x) for x in leaves if isinstance(x, Tensor | np.ndarray)]
        return {f"{number:05}": tensor for number, tensor in enumerate(found)}

    def example(
        self, batch: Any, part: tuple[int, int] = (0, 1), mixup: float = 0.0, step: int = 0
    ) -> FedBatch:
        """Convert one batch of the user to the arguments of the network, and the targets."""
        targets = None
        if self.labelled:
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                raise InvalidInputError(
                    f"with a loss, batches are pairs (inputs, targets); got {type(batch).__name__}"
                )
            batch, targets = batch
        args, kwargs = _ordinary(self._arguments(batch))
        if mixup:
            with mixup_randomness(self.seed, step):
                args, kwargs = _mixed((args, kwargs), mixup)
        targets = _ordinary(targets)
        rank, parts = part
        if parts == 1:
            return FedBatch((args, kwargs), targets)
        size = _size((args, kwargs))
        if size < parts:
            raise InvalidInputError(
                f"a batch has {size} sample(s) for {parts} processes; give larger batches, and "
                "leave out a last one that is smaller"
            )
        rows = slice(size * rank // parts, size * (rank + 1) // parts)
        cut = pytree.tree_map(lambda x: _rows(x, rows, size), ((args, kwargs), targets))
        return FedBatch(*cut, share=(rows.stop - rows.start) * parts / size)

    def _arguments(self, batch: Any) -> Batch:
        """Tensors in the places of those of the network's example."""
        items = tuple(batch) if isinstance(batch, tuple | list) else ()
        if not self.labelled and len(pytree.tree_leaves(items[:-1])) == len(self.names):
            batch = items[:-1]  # without labels, which nobody asked for
        values = in_order(batch, self.names)
        if len(values) != len(self.names):
            raise InvalidInputError(
                f"the model takes {len(self.names)} input(s) {self.names}, a batch has "
                f"{len(values)}"
            )
        examples, spec = pytree.tree_flatten(self._examples)
        left = iter(values)
        filled = [torch.as_tensor(next(left)) if isinstance(x, Tensor) else x for x in examples]
        return pytree.tree_unflatten(filled, spec)


def first_epoch(batches: Batches, seed: int) -> Iterator[Any]:
    """The user's batches in the order in which a run with this seed begins.

    Args:
        batches: See `tersor.train`.
        seed: Seed of the run.
    """
    batches = _many(batches)
    with own_randomness():
        seed_epoch(seed, 0, batches)
        yield from batches() if callable(batches) else batches


def _many(batches: Batches) -> Batches:
    """Convert to a list of a single batch, or to something that can be iterated again."""
    if isinstance(batches, Iterator):
        raise InvalidInputError(
            f"batches is a {type(batches).__name__}, which can be read only once; give a list, "
            "a DataLoader, or a function that returns the batches of an epoch"
        )
    return [batches] if isinstance(batches, Tensor | Mapping) else batches


def to_device(values: Any, device: torch.device) -> Any:
    """Move all tensors to a device.

    Args:
        values: Tensors, in any structure.
        device: The device.
    """
    return pytree.tree_map(
        lambda x: x.to(device, non_blocking=True) if isinstance(x, Tensor) else x, values
    )


def _mixed(inputs: Batch, alpha: float) -> Batch:
    """Mix the samples of all inputs that have one value per sample, each with the same other one.

    Raises:
        InvalidInputError: Samples are integers, which have nothing in between.
    """
    size = _size(inputs)
    partner, weight = partners(size, alpha)
    for x in pytree.tree_leaves(inputs):
        if isinstance(x, Tensor) and x.ndim and len(x) == size and not x.is_floating_point():
            raise InvalidInputError(
                f"Training: mixup={alpha:g} mixes samples, and an input of this model holds "
                f"{str(x.dtype).removeprefix('torch.')} numbers, which have nothing in between; "
                "leave it out"
            )
    return pytree.tree_map_only(
        Tensor, lambda x: mixed(x, partner, weight) if x.ndim and len(x) == size else x, inputs
    )


def _ordinary(values: Any) -> Any:
    """Copies of tensors made in `torch.inference_mode`, which gradients cannot use."""
    return pytree.tree_map_only(Tensor, lambda x: x.clone() if x.is_inference() else x, values)


def _size(values: Any) -> int:
    return max(len(x) for x in pytree.tree_leaves(values) if isinstance(x, Tensor) and x.ndim)


def _rows(value: Any, rows: slice, size: int) -> Any:
    is_cut = isinstance(value, Tensor | np.ndarray) and value.ndim and len(value) == size
    return value[rows] if is_cut else value
