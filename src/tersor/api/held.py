"""Holds what was quantized with data within a tolerance, in the simulation and in the runtime."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.api.frame import Frame
from tersor.api.steps import TOLERATE, place_and_round
from tersor.data.observe import Batch
from tersor.errors import TersorError
from tersor.export.onnx import export_onnx
from tersor.export.runtime import Runtime
from tersor.export.serving import serving
from tersor.files import temporary_folder
from tersor.graph.network import Network
from tersor.quant.kept import Kept
from tersor.quant.levels import WithData
from tersor.quant.scheme import Scheme
from tersor.quant.tolerance import AUTO, Rounded, Run, Tolerance
from tersor.quant.within import within
from tersor.results.quantized import runtime_of


def held(
    network: Network,
    frame: Frame,
    options: WithData,
    tolerance: Tolerance,
    found: Rounded,
    batches: tuple[list[Batch], list[Batch]],
) -> Rounded:
    """Quantize a network again, with calls in floating point, until it is within a tolerance.

    Args:
        network: The network without quantizers.
        frame: The target and the callbacks.
        options: The options of level 2.
        tolerance: What is asked for.
        found: The network, quantized as usual.
        batches: The samples that are learned from, and those on which it is judged.

    Raises:
        TersorError: The file could not be written or run, and the tolerance was asked for.
    """
    frame.say(TOLERATE)
    used, judged = batches
    quiet = replace(frame, say=lambda _: None, on_layer=None, folder=None)

    def again(kept: Kept, solved: bool) -> Rounded:
        chosen = replace(quiet, kept=kept)
        return place_and_round(network.copy(), chosen, used, options, solved)

    target = network, frame.scheme
    try:
        return within(tolerance, target, found, again, judged, in_runtime(frame.scheme))
    except TersorError:
        if tolerance is AUTO:  # nobody asked, and whoever writes the file is told
            return found
        raise


def in_runtime(scheme: Scheme) -> Run:
    """Runs networks as files in the runtime of a scheme.

    Args:
        scheme: The scheme.
    """
    name, config = runtime_of(scheme)

    def run(network: Network, batches: list[Batch]) -> list[object]:
        with temporary_folder() as folder:
            path = export_onnx(network, folder / "judged.onnx", scheme=scheme).path
            file = serving(name, path).load(path, config=config)
            return [_outputs(file, batch) for batch in batches]

    return run


def _outputs(file: Runtime, batch: Batch) -> list[Tensor]:
    inputs = tuple(x for x in pytree.tree_leaves(batch) if isinstance(x, Tensor))
    return [torch.from_numpy(np.asarray(array)) for array in file(inputs).values()]
