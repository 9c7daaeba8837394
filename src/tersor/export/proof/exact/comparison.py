"""Compares a file as users run it with its exact simulation, and finds where the two part."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from torch.utils import _pytree as pytree

from tersor.data.given.feeds import Arrays, Data, batches, split_labels
from tersor.errors import InvalidInputError
from tersor.export.executorch.loaded import NAME as PROGRAMS
from tersor.export.proof.arithmetic import Arithmetic, Parting
from tersor.export.proof.closely import MOST
from tersor.export.proof.exact.simulation import KNOWN, ExactSimulation, name_of
from tersor.export.proof.tally import Tally
from tersor.export.sessions.runtime import Config, at_once
from tersor.graph import carried_model
from tersor.graph.network import Network
from tersor.names import RuntimeName

if TYPE_CHECKING:
    from tersor.export.executorch.exact_program import ExactProgram

_CHUNK = 16  # at a time
_FOLLOWED = {"x86_64", "AMD64"}  # processors whose kernels are known


def check_is_followed(path: Path, runtime: RuntimeName, network: Network | None) -> None:
    """Refuse kernels that the exact simulation does not follow.

    Args:
        path: The file.
        runtime: What runs it.
        network: The quantized network that it was written from, if that is known.

    Raises:
        InvalidInputError: It does not run in onnxruntime on x86-64, and is no program of ExecuTorch
            whose network is known.
    """
    if platform.machine() not in _FOLLOWED:
        raise InvalidInputError(
            "exact=True simulates the kernels of x86-64 processors, and this one is "
            f"{platform.machine()}; leave it out"
        )
    if runtime == PROGRAMS and network is None:
        raise InvalidInputError(
            f"exact=True simulates the calls of a program of ExecuTorch, which {str(path)!r} does "
            "not tell; call verify of the quantized model that wrote it, or leave exact out"
        )
    if runtime not in ("onnxruntime", PROGRAMS):
        raise InvalidInputError(
            f"exact=True simulates the kernels of onnxruntime and ExecuTorch, and {str(path)!r} "
            f"runs in {runtime}; leave it out"
        )


def simulated(
    path: Path, runtime: RuntimeName, network: Network | None, config: Config
) -> "ExactSimulation | ExactProgram":
    """The exact simulation of a file that `check_is_followed` accepts.

    Args:
        path: The file.
        runtime: What runs it.
        network: The quantized network that it was written from, if that is known.
        config: Session options that users of the file set.
    """
    if runtime == PROGRAMS and network is not None:
        from tersor.export.executorch.exact_program import ExactProgram  # loads PyTorch's own

        return ExactProgram(path, network)
    return ExactSimulation(path, config)


def prove(simulation: "ExactSimulation | ExactProgram", inputs: Sequence[Any]) -> Arithmetic:
    """Compare a file as users run it with its exact simulation.

    Args:
        simulation: The simulation of the file.
        inputs: Batches, with labels or without.
    """
    file, tallies, samples = simulation.file, list[Tally](), 0
    first: Arrays = {}
    for batch in inputs:
        feed = file.feed(split_labels(batch, len(file.inputs))[0])
        for part in file.split(feed, at_once(feed, _CHUNK)):
            first = first or part
            samples += len(next(iter(part.values()))) if next(iter(part.values())).ndim else 1
            pairs = list(zip(file.numbers(part), simulation.numbers(part), strict=True))
            tallies = tallies or [Tally() for _ in pairs]
            for tally, (wanted, given) in zip(tallies, pairs, strict=True):
                tally.add(wanted, given)
    found = Arithmetic(
        {name: t.comparison() for name, t in zip(file.compared, tallies, strict=True)},
        samples,
        simulation.computed,
        simulation.unknown,
        simulation.others,
        simulation.saturated,
        computed_by=simulation.others_by,
    )
    if found.is_equal or not isinstance(simulation, ExactSimulation):
        return found
    return replace(found, partings=tuple(partings(simulation, first)))


def partings(simulation: ExactSimulation, feed: Arrays) -> Iterator[Parting]:
    """Give each known node the values that the runtime gave it, and compare what it returns.

    Args:
        simulation: The file.
        feed: A few samples.
    """
    values = _all_values(simulation, feed)
    for node in simulation.model.graph.node:
        if node.op_type not in KNOWN:
            continue
        given, wanted = simulation.compute(node, values), values[node.output[0]]
        if given is None or np.array_equal(given, wanted, equal_nan=wanted.dtype.kind == "f"):
            continue
        distance = np.abs(given.astype(np.float64) - wanted.astype(np.float64))
        share, largest = float((distance != 0).mean()), float(distance.max())
        yield Parting(name_of(node), node.op_type, share, largest)


def _all_values(simulation: ExactSimulation, feed: Arrays) -> Mapping[str, Any]:
    """What the runtime computes for every value that a known node reads or writes."""
    model = onnx.ModelProto()
    model.CopyFrom(simulation.model)
    made = {name for node in model.graph.node for name in node.output if name}
    known = [node for node in model.graph.node if node.op_type in KNOWN]
    names = dict.fromkeys(name for node in known for name in (*node.input, *node.output))
    wanted = [name for name in names if name in made]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    session = carried_model.load(model, carried_model.libraries(), optimize=False)
    given = {value.name: feed[value.name] for value in session.get_inputs()}
    return {**simulation.start(feed), **dict(zip(wanted, session.run(None, given), strict=True))}


class FirstSamples:
    """Passes batches on, and remembers the first of them.

    Attributes:
        batches: What was remembered.
    """

    def __init__(self, inputs: Data) -> None:
        """Wrap what a user gives as data.

        Args:
            inputs: See `tersor.data.given.feeds.batches`.
        """
        self._inputs, self._count = inputs, 0
        self.batches: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        for batch in batches(self._inputs):
            if self._count < MOST:
                self.batches.append(_first_rows(batch, MOST - self._count))
                self._count += _rows(batch)
            yield batch


def _rows(batch: Any) -> int:
    arrays = [x for x in pytree.tree_leaves(batch) if getattr(x, "ndim", 0)]
    return len(arrays[0]) if arrays else 1


def _first_rows(batch: Any, most: int) -> Any:
    """The first samples of a batch, if all of its arrays have as many rows."""
    arrays = [x for x in pytree.tree_leaves(batch) if isinstance(x, torch.Tensor | np.ndarray)]
    if {x.shape[0] if x.ndim else 0 for x in arrays} != {_rows(batch)}:
        return batch
    return pytree.tree_map(
        lambda x: x[:most] if isinstance(x, torch.Tensor | np.ndarray) else x, batch
    )
