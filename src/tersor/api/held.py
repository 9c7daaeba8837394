"""Holds what was quantized with data within a tolerance, in the simulation and in the runtime."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.api.frame import Frame
from tersor.api.steps import TOLERATE, correct, place_with_data, solve
from tersor.data.walk.observe import Batch
from tersor.errors import TersorError
from tersor.export.by_name import export_file, suffix_of
from tersor.export.serving import serving
from tersor.export.sessions.runtime import Runtime
from tersor.files import temporary_folder
from tersor.graph.network import Network
from tersor.quant.in_float.bias_check import judge_of_biases
from tersor.quant.in_float.within import within
from tersor.quant.levels import WithData
from tersor.quant.placement.kept import NOTHING, Kept
from tersor.quant.ranges.known_ranges import KnownRanges
from tersor.quant.scheme import Scheme
from tersor.quant.shared_copy import shared_copy
from tersor.quant.tolerance import AUTO, Rounded, Run, Tolerance, Weights
from tersor.results.quantized import runtime_of


def held(
    network: Network,
    frame: Frame,
    options: WithData,
    tolerance: Tolerance,
    batches: tuple[Sequence[Batch], Sequence[Batch]],
) -> Rounded:
    """Quantize a network, with calls in floating point until it is within a tolerance.

    Args:
        network: The network without quantizers.
        frame: The target and the callbacks.
        options: The options of level 2.
        tolerance: What is asked for.
        batches: The samples that are learned from, and those on which it is judged.

    Raises:
        TersorError: The file could not be written or run, and the tolerance was asked for.
    """
    used, judged = batches
    attempts = _Attempts(network, frame, options, used)
    target = network, frame.scheme
    try:
        found = within(
            tolerance, target, attempts, judged, attempts.judge, in_runtime(frame.scheme)
        )
    except TersorError:
        if tolerance is AUTO:  # nobody asked, and whoever writes the file is told
            return attempts(NOTHING, "solved")
        raise
    return found


class _Attempts:
    """Quantizes a network with some calls in floating point; what all of them share is kept.

    Attributes:
        judge: Judges by the samples on which biases are tried.
    """

    def __init__(
        self, network: Network, frame: Frame, options: WithData, batches: Sequence[Batch]
    ) -> None:
        self._network, self._frame = network, frame
        self._options, self._batches = options, batches
        self._known, self._everything = KnownRanges(), dict[Weights, Rounded]()
        self._placed: tuple[Kept, Rounded] | None = None
        self.judge = judge_of_biases(network, batches)

    def __call__(self, kept: Kept, weights: Weights) -> Rounded:
        if weights == "corrected" and self._options.rounding != WithData().rounding:
            weights = "solved"  # as was asked for
        if kept:
            frame = replace(self._frame, kept=kept, say=lambda _: None, on_layer=None, folder=None)
            return self._quantized(frame, weights)
        if weights not in self._everything:
            self._everything[weights] = self._quantized(self._frame, weights)
        return self._everything[weights]

    def _quantized(self, frame: Frame, weights: Weights) -> Rounded:
        placed = self._everything.get("nearest") if not frame.kept else None
        placed = placed or self._nearest(frame)
        if weights == "nearest":
            return placed
        found = replace(placed, network=shared_copy(placed.network))
        if weights == "corrected":
            return correct(found, self.judge.batches)
        found = solve(found, frame, self._batches, self._options, self.judge)
        if not frame.kept:
            frame.say(TOLERATE)
        return found

    def _nearest(self, frame: Frame) -> Rounded:
        """The nearest integers; the mixture that was asked for last is asked for again."""
        if self._placed is None or self._placed[0] != frame.kept:
            network = shared_copy(self._network)
            placed = place_with_data(network, frame, self._batches, self._options, self._known)
            self._placed = frame.kept, placed
        return self._placed[1]


def in_runtime(scheme: Scheme) -> Run:
    """Runs networks as files in the runtime of a scheme.

    Args:
        scheme: The scheme.
    """
    name, config = runtime_of(scheme)

    def run(network: Network, batches: Sequence[Batch]) -> list[object]:
        with temporary_folder() as folder:
            path = folder / f"judged{suffix_of(scheme)}"
            export_file(network, path, scheme=scheme, expected=False)
            file = serving(name, path).load(path, config=config)
            return [_outputs(file, batch) for batch in batches]

    return run


def _outputs(file: Runtime, batch: Batch) -> list[Tensor]:
    inputs = tuple(x for x in pytree.tree_leaves(batch) if isinstance(x, Tensor))
    return [torch.from_numpy(np.asarray(array)) for array in file(inputs).values()]
