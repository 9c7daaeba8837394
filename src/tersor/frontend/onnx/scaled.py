"""Stored integers that a file turns into floats by Cast and Mul, as Tersor does for runtimes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tersor.errors import InvalidModelError
from tersor.frontend.onnx.file_contents import Contents


@dataclass(frozen=True)
class Scaled:
    """A weight that is stored as integers and a scale.

    Attributes:
        integers: Name of the integers.
        floats: Name of the weight.
        nodes: Names of the nodes that compute it.
        values: Its numbers.
    """

    integers: str
    floats: str
    nodes: tuple[str, str]
    values: np.ndarray


def check_scaled(contents: Contents) -> None:
    """Refuse a file that Tersor has quantized, whose integers no DequantizeLinear reads.

    Args:
        contents: The contents of the file.

    Raises:
        InvalidModelError: The file has notes of Tersor, and weights that are integers.
    """
    notes = {} if contents.model is None else contents.model.metadata_props
    found = list(scaled_weights(contents)) if "tersor.scheme" in notes else []
    if found:
        raise InvalidModelError(
            f"the file is already quantized ({found[0].integers!r} and {len(found) - 1} more "
            "weights are integers); use the float file, or convert this one back to float with "
            "dequantize=True, on the command line --dequantize"
        )


def scaled_weights(contents: Contents) -> Iterator[Scaled]:
    """Find every `Mul(Cast(q), s)` of stored bytes that nothing else reads.

    Args:
        contents: The contents of a file.
    """
    readers = Counter(name for node in contents.nodes for name in node.inputs)
    readers.update(contents.outputs)
    casts = {node.outputs[0]: node for node in contents.nodes if node.op == "Cast"}
    for node in contents.nodes:
        cast = casts.get(node.inputs[0]) if node.op == "Mul" else None
        if cast is None or cast.inputs[0] not in contents.constants:
            continue
        whole, scale = cast.inputs[0], contents.constants.get(node.inputs[1])
        integers, result = contents.constants[whole], node.outputs[0]
        alone = readers[whole] == readers[cast.outputs[0]] == 1 and result not in contents.outputs
        if alone and scale is not None and _fits(integers, scale):
            values = integers.astype(scale.dtype) * scale
            yield Scaled(whole, result, (cast.name, node.name), values)


def _fits(integers: np.ndarray, scale: np.ndarray) -> bool:
    """Whether these are bytes and floats, one for each row or for all."""
    is_typed = integers.dtype in (np.int8, np.uint8) and scale.dtype == np.float32
    sizes = zip(integers.shape[::-1], scale.shape[::-1], strict=False)
    return is_typed and scale.ndim <= integers.ndim and all(b in (1, a) for a, b in sizes)
