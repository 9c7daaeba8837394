"""A file that integers make slower is written once more: only its weights are integers then."""

from collections.abc import Callable, Mapping
from typing import Any

from tersor.cli.proving import Proved
from tersor.data.given.sources import Source
from tersor.errors import UnsupportedError
from tersor.export.sessions.latency import Latency
from tersor.graph.network import Skipped
from tersor.quant.levels import WithData
from tersor.quant.scheme import Scheme
from tersor.quant.schemes import ONNXRUNTIME_WEIGHTS
from tersor.results.quantized import Quantized

Made = tuple[Quantized, Proved]
#: Options that say nothing about integers, and values that are as good as none.
_IDLE = {"samples", "held_back", "seed", "work", "memory"}
_NONE = (None, "off", "int8", [])
_SHORT = 5.0  # milliseconds
_WHY = (
    "on integers the file takes {:.2f} times as long as the float file, in processor time of one "
    "thread, so every layer computes in float, and only the stored weights are integers; "
    "--every-layer keeps the layers on integers"
)


def at_float_speed(
    first: Made,
    samples: Source | None,
    again: Callable[[Scheme, Quantized], Made],
    asked: Mapping[str, Any],
) -> Made:
    """Take the float file's speed if integers are slower, and nobody asked for integers.

    Args:
        first: A model on integers, and its file.
        samples: What it was verified on, if there are samples.
        again: Quantizes for another target, and writes that in the place of the file; it is given
            the model on integers, too.
        asked: Options of bits, ranges and rounding, each with its value, or None.
    """
    quantized, proved = first
    is_asked = any(value not in _NONE for name, value in asked.items() if name not in _IDLE)
    is_asked = is_asked or quantized.scheme.speed is None
    timed = proved.checked and proved.checked.latency
    if is_asked or not proved.kept or timed is None or not _may_be_slower(timed):
        return first
    times = quantized.slowdown(proved.written.path, samples)
    if times <= 1:
        return first
    try:
        found = again(ONNXRUNTIME_WEIGHTS, quantized)
    except UnsupportedError:  # nothing is stored that integers would make smaller
        return first
    found[0].records.append(Skipped("every layer", "place", _WHY.format(times)))
    return found


def in_float(options: WithData | None) -> WithData | None:
    """The options that still count if every layer computes in float.

    Args:
        options: Those of a run with data, or None without data.
    """
    return None if options is None else WithData(samples=options.samples)


def _may_be_slower(timed: Latency) -> bool:
    """What is short depends on what else the machine does, so it is measured again in any case."""
    return timed.ratio > 1 or timed.float_ms < _SHORT
