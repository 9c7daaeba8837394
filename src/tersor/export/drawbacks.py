"""Says in plain words where a quantized file is worse than its float file, and why."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from tersor.export.kernels import INTEGER, optimized_nodes
from tersor.export.sessions.latency import AS_FAST, Latency
from tersor.export.sessions.runtime import Config
from tersor.frontend.onnx.opening import open_file
from tersor.frontend.onnx.stored import size

_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")
_SHOWN = 3  # types of ops that are named


@dataclass(frozen=True)
class Bytes:
    """What a file consists of, in bytes."""

    floats: int
    integers: int
    indices: int
    nodes: int


def drawbacks(
    float_path: str | Path, path: str | Path, latency: Latency | None, config: Config = ()
) -> list[str]:
    """Find what is worse than in the float file: one sentence each, with the reason.

    Args:
        float_path: The float file.
        path: The quantized file.
        latency: The times of both, if they were measured.
        config: The session options that users of the quantized file set.
    """
    found = []
    if size(path) > size(float_path):
        found.append(_larger(contents(float_path), contents(path)))
    if latency is not None and latency.ratio > AS_FAST:
        found.append(_slower(path, latency, config))
    return found


def contents(path: str | Path) -> Bytes:
    """Count the bytes of a file by what they are for.

    Args:
        path: An ONNX file, with or without weights beside it.
    """
    sizes = Counter[str]()
    for value in open_file(path)[0].graph.initializers.values():
        stored = value.const_value
        if stored is not None:
            sizes[_kind(stored.dtype)] += stored.nbytes
    total = size(path)
    return Bytes(sizes["floats"], sizes["integers"], sizes["indices"], total - sum(sizes.values()))


def _kind(dtype: ir.DataType) -> str:
    if dtype.is_floating_point():
        return "floats"
    return "indices" if dtype in (ir.DataType.INT64, ir.DataType.BOOL) else "integers"


def _total(found: Bytes) -> int:
    return found.floats + found.integers + found.indices + found.nodes


def _larger(before: Bytes, after: Bytes) -> str:
    grown = {
        "stored floats": after.floats - before.floats,
        "stored indices": after.indices - before.indices,
        "nodes, names and quantizers": after.nodes - before.nodes,
    }
    what, more = max(grown.items(), key=lambda item: item[1])
    saved = before.floats - after.floats - after.integers
    return (
        f"the file is larger than the float file ({_total(before):,} → {_total(after):,} bytes): "
        f"weights in integers save {max(saved, 0):,} bytes, and {what} take {more:,} more. Keep "
        "the float file, or quantize a larger model"
    )


def _slower(path: str | Path, latency: Latency, config: Config) -> str:
    nodes = optimized_nodes(path, config)
    count = sum(node.op_type in _CONVERSIONS for node in nodes)
    kernels = sum(node.op_type in INTEGER for node in nodes)
    made = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    readers = Counter(node.op_type for node in nodes if made.intersection(node.input))
    names = ", ".join(op for op, _ in readers.most_common(_SHOWN))
    around = f" for ops that are computed in floating point ({names})" if names else ""
    slower = f"the file is slower than the float file ({1 / latency.ratio:.2f} times as fast)"
    if not count:
        return f"{slower}: run the float file"
    return (
        f"{slower}: it has {count} conversions between integers and floats{around}, and {kernels} "
        "integer layers do not gain as much. Leave more layers in floating point with exclude=, on "
        "the command line --exclude, or store nothing but the weights in integers, which is as "
        "fast as the float file: scheme='onnxruntime-weights', --scheme onnxruntime-weights"
    )
