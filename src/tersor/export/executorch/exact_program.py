"""The exact simulation of a program of ExecuTorch: its network, in XNNPACK's own arithmetic."""

from pathlib import Path

import numpy as np
import torch

from tersor.data.given.feeds import Arrays
from tersor.export.executorch.integer_program import IntegerProgram
from tersor.export.executorch.loaded import ExecuTorchRuntime
from tersor.graph.network import Network


class ExactProgram:
    """One file, and what its kernels compute.

    Attributes:
        file: The file, as users run it.
        saturated: Empty: XNNPACK's sums have 32 bits.
        others_by: What computed the calls that move values or are in float.
    """

    others_by = "PyTorch"

    def __init__(self, path: Path, network: Network) -> None:
        """Load the file.

        Args:
            path: The file.
            network: The quantized network that it was written from.
        """
        self.file = ExecuTorchRuntime(path)
        self.saturated: dict[str, float] = {}
        self._program = IntegerProgram(network)

    @property
    def computed(self) -> dict[str, str]:
        """Name → op of the calls that were computed on integers, once it ran."""
        return self._program.computed

    @property
    def unknown(self) -> dict[str, str]:
        """Name → op of calls on integers whose arithmetic is not known."""
        return self._program.unknown

    @property
    def others(self) -> int:
        """Number of the other calls. They move values or are in float."""
        return self._program.others

    def numbers(self, feed: Arrays) -> list[np.ndarray]:
        """Run arrays, sample by sample; returns the outputs in order."""
        rows = [
            self._program.outputs([torch.from_numpy(part[name]) for name in self.file.inputs])
            for part in self.file.split(feed, 1)
        ]
        return [torch.cat(parts).numpy() for parts in zip(*rows, strict=True)]
