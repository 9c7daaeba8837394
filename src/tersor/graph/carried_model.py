"""A part of an ONNX file as text, and the onnxruntime session that computes it.

The text holds the whole part, so a copied, pickled or saved graph needs nothing beside it. It is a
checksum and the compressed model in base 64. Sessions are kept by their text.
"""

import base64
import os
import zlib
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from tersor.errors import InvalidInputError, InvalidModelError, UnsupportedError

#: What to do with a node that no network can hold.
CUT = "cut the file in front of it with onnx.utils.extract_model, and run the rest in float"
#: ONNX's recurrent layers; their weights are `[directions, gates · hidden, inputs]`.
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
_FATAL_ONLY = 4  # errors are raised, too
_libraries: dict[str, None] = {}
Compute = Callable[[str, Sequence[np.ndarray]], list[Any]]


def encode(model: onnx.ModelProto) -> str:
    """Convert a model to text.

    Args:
        model: The model; its weights are inside.
    """
    content = model.SerializeToString(deterministic=True)
    text = base64.b64encode(zlib.compress(content)).decode()
    return f"{zlib.crc32(content):08x}:{text}"


@lru_cache(maxsize=256)
def decode(text: str) -> onnx.ModelProto:
    """Convert text back to the model; do not change what is returned.

    Args:
        text: What `encode` returned.

    Raises:
        InvalidModelError: The text was truncated or changed.
    """
    sum_, _, content = text.partition(":")
    try:
        raw = zlib.decompress(base64.b64decode(content, validate=True))
        if zlib.crc32(raw) != int(sum_, 16):
            raise ValueError("its checksum does not fit")
        return onnx.ModelProto.FromString(raw)
    except Exception as error:
        raise InvalidModelError(
            f"a part that was carried over from an ONNX file is damaged: {error}; read the float "
            "file again"
        ) from error


def use_library(path: str | Path) -> None:
    """Let carried parts use the custom ops of a library, in this process.

    The library is code. It is loaded only if its user names it, and never because a file does.

    Args:
        path: The shared library, as for `SessionOptions.register_custom_ops_library`.

    Raises:
        InvalidInputError: There is no such file, or onnxruntime cannot load it.
    """
    if not Path(path).is_file():
        raise InvalidInputError(f"there is no library of custom ops {str(path)!r}")
    full = str(Path(path).resolve())
    try:
        ort.SessionOptions().register_custom_ops_library(full)
    except Exception as error:
        raise InvalidInputError(
            f"onnxruntime cannot load the library of custom ops {str(path)!r}: {_reason(error)}"
        ) from error
    _libraries[full] = None


def libraries() -> tuple[str, ...]:
    """The libraries of custom ops that are in use."""
    return tuple(_libraries)


def describe(model: onnx.ModelProto) -> str:
    """Name the nodes of a part for messages.

    Args:
        model: The part.
    """
    return ", ".join(f"{node.name!r} ({op_name(node)})" for node in model.graph.node)


def op_name(node: onnx.NodeProto) -> str:
    """The type of a node, with its domain unless that is ONNX's own."""
    standard = node.domain in ("", "ai.onnx")
    name = node.op_type if standard else f"{node.domain}.{node.op_type}"
    return " ".join(name.split())  # a damaged file has line breaks in names


def compute(text: str, arrays: Sequence[np.ndarray]) -> list[Any]:
    """Compute a part in a session that is kept; see `run`."""
    session = _session(text, libraries())
    names = [value.name for value in session.get_inputs()]
    return list(session.run(None, dict(zip(names, arrays, strict=True))))


#: How parts are computed.
computing: ContextVar[Compute] = ContextVar("computing", default=compute)


def run(text: str, arrays: Sequence[np.ndarray], how: Compute | None = None) -> list[np.ndarray]:
    """Compute a part in onnxruntime.

    Args:
        text: The part.
        arrays: Its inputs, in order.
        how: Computes it. Default: as `computing` says.

    Raises:
        InvalidModelError: It cannot be computed on these inputs.
        UnsupportedError: onnxruntime cannot load it.
    """
    _check_steps(text, arrays)
    try:
        found = (how or computing.get())(text, arrays)
    except UnsupportedError:
        raise
    except Exception as error:
        sizes = ", ".join(f"{list(array.shape)} ({array.dtype})" for array in arrays)
        given = f"inputs of shape {sizes}" if arrays else "stored values"
        drawn = "If these inputs were drawn, give samples (data=, --data)"
        advice = drawn if arrays else "Store what it computes"
        raise InvalidModelError(
            f"onnxruntime cannot compute {describe(decode(text))} on {given}: {_reason(error)}. "
            f"{advice}"
        ) from error
    if any(not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub" for value in found):
        raise UnsupportedError(
            f"{describe(decode(text))} computes something else than tensors of numbers, such as a "
            f"sequence or text; {CUT}"
        )
    return found


def _check_steps(text: str, arrays: Sequence[np.ndarray]) -> None:
    """Refuse a sequence without steps: onnxruntime's recurrent layers then end the process."""
    part = decode(text)
    is_empty = not all(array.size for array in arrays)
    if is_empty and any(node.op_type in RECURRENT for node in part.graph.node):
        shapes = [list(array.shape) for array in arrays]
        raise InvalidModelError(
            f"{describe(part)} reads an empty sequence (shapes {shapes}), which onnxruntime cannot "
            "compute; give an example with at least one step"
        )


@lru_cache(maxsize=256)
def _session(text: str, used: tuple[str, ...]) -> ort.InferenceSession:
    return load(decode(text), used)


def load(
    model: onnx.ModelProto, used: Sequence[str], optimize: bool = True, pooled: bool = False
) -> ort.InferenceSession:
    """Load a part in onnxruntime, on the CPU.

    Args:
        model: The part.
        used: Libraries of custom ops.
        optimize: Whether onnxruntime may change the graph.
        pooled: Whether its values lie in the pool of memory that the process has registered.

    Raises:
        UnsupportedError: onnxruntime cannot load it; gives its reason.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = min(os.cpu_count() or 1, 4)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", "1" if pooled else "0")
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        for library in used:
            options.register_custom_ops_library(library)
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise UnsupportedError(
            f"{describe(model)} is in the file, and onnxruntime cannot run it: {_reason(error)}. "
            "If it is a custom op, give its library: custom_ops=, on the command line --custom-ops"
        ) from error


def _reason(error: Exception) -> str:
    """onnxruntime's own words, without its code and the address of its source."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].removeprefix("[ONNXRuntimeError] : ").rstrip(".")
