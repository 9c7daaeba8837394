"""Holds what was quantized with data within a tolerance, in the simulation and in the runtime."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.api.frame import Frame
from tersor.api.steps import TOLERATE, place_with_data, solve
from tersor.data.observe import Batch
from tersor.errors import TersorError
from tersor.export.onnx import export_onnx
from tersor.export.runtime import Runtime
from tersor.export.serving import serving
from tersor.files import temporary_folder
from tersor.graph.network import Network
from tersor.quant.bias_check import judge_of_biases
from tersor.quant.kept import NOTHING, Kept
from tersor.quant.known_ranges import KnownRanges
from tersor.quant.levels import WithData
from tersor.quant.scheme import Scheme
from tersor.quant.shared_copy import shared_copy
from tersor.quant.tolerance import AUTO, Rounded, Run, Tolerance
from tersor.quant.within import within
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
            return attempts(NOTHING, True)
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
        self._known, self._everything = KnownRanges(), dict[bool, Rounded]()
        self.judge = judge_of_biases(network, batches)

    def __call__(self, kept: Kept, solved: bool) -> Rounded:
        if kept:
            frame = replace(self._frame, kept=kept, say=lambda _: None, on_layer=None, folder=None)
            return self._quantized(frame, solved)
        if solved not in self._everything:
            self._everything[solved] = self._quantized(self._frame, solved)
        return self._everything[solved]

    def _quantized(self, frame: Frame, solved: bool) -> Rounded:
        batches, options = self._batches, self._options
        placed = self._everything.get(False) if not frame.kept else None
        if placed is None:
            network = shared_copy(self._network)
            placed = place_with_data(network, frame, batches, options, self._known)
        if not solved:
            return placed
        found = replace(placed, network=shared_copy(placed.network))
        found = solve(found, frame, batches, options, self.judge)
        if not frame.kept:
            frame.say(TOLERATE)
        return found


def in_runtime(scheme: Scheme) -> Run:
    """Runs networks as files in the runtime of a scheme.

    Args:
        scheme: The scheme.
    """
    name, config = runtime_of(scheme)

    def run(network: Network, batches: Sequence[Batch]) -> list[object]:
        with temporary_folder() as folder:
            path = export_onnx(network, folder / "judged.onnx", scheme=scheme, expected=False).path
            file = serving(name, path).load(path, config=config)
            return [_outputs(file, batch) for batch in batches]

    return run


def _outputs(file: Runtime, batch: Batch) -> list[Tensor]:
    inputs = tuple(x for x in pytree.tree_leaves(batch) if isinstance(x, Tensor))
    return [torch.from_numpy(np.asarray(array)) for array in file(inputs).values()]
