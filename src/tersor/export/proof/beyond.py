"""Tells whether inputs lie outside the range that a file was quantized for."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from tersor.data.given.feeds import Arrays
from tersor.frontend.onnx.opening import open_file

_STEP = 1 / 255  # of the range; the ends of the data are rounded to it
_MOST = 0.01  # share of the values that may lie outside, as rare ones of other samples do


def quantized_inputs(path: str | Path) -> dict[str, tuple[float, float]]:
    """Find the range of each input that a file quantizes before anything else.

    Args:
        path: The quantized file.

    Returns:
        Input name → smallest and largest value that it can represent.
    """
    found = {}
    for value in open_file(path)[0].graph.inputs:
        nodes = [use.node for use in value.uses()]
        for node in nodes:
            if node.op_type == "QuantizeLinear" and len(node.inputs) == 3 and value.name:
                ends = _ends(*node.inputs[1:])
                found |= {} if ends is None else {value.name: ends}
    return found


def _ends(scale: ir.Value | None, zero_point: ir.Value | None) -> tuple[float, float] | None:
    stored = [None if x is None else x.const_value for x in (scale, zero_point)]
    if stored[0] is None or stored[1] is None or stored[0].size != 1:
        return None
    step, zero = float(stored[0].numpy().item()), stored[1].numpy()
    if zero.dtype.kind not in "iu":
        return None
    limits, middle = np.iinfo(zero.dtype), int(zero.item())
    return step * (limits.min - middle), step * (limits.max - middle)


class Beyond:
    """Counts the values of inputs that lie outside their range."""

    def __init__(self, path: str | Path) -> None:
        """Read the ranges of a file.

        Args:
            path: The quantized file.
        """
        self._ends = quantized_inputs(path)
        self._outside = dict.fromkeys(self._ends, 0)
        self._count = dict.fromkeys(self._ends, 0)
        self._seen: dict[str, tuple[float, float]] = {}

    def add(self, arrays: Arrays) -> None:
        """Look at a batch.

        Args:
            arrays: Its inputs by name.
        """
        for name, (low, high) in self._ends.items():
            x, step = arrays[name], (high - low) * _STEP
            if x.size:
                lowest, highest = self._seen.get(name, (np.inf, -np.inf))
                self._seen[name] = min(lowest, float(x.min())), max(highest, float(x.max()))
                self._outside[name] += int(((x < low - step) | (x > high + step)).sum())
                self._count[name] += x.size

    def doubts(self) -> list[str]:
        """One sentence for each input of which more than a few values lie outside its range."""
        found = []
        for name, (low, high) in self._ends.items():
            share = self._outside[name] / max(1, self._count[name])
            if share > _MOST:
                lowest, highest = self._seen[name]
                found.append(
                    f"{share:.0%} of the values of input {name!r} lie outside "
                    f"{low:.3g}…{high:.3g}, for which the file was quantized: they reach from "
                    f"{lowest:.3g} to {highest:.3g}"
                )
        return found
