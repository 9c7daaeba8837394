"""Which kernels onnxruntime runs here: what the CPU has, and what u8×s8 products add up to."""

import os
import platform
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

_LARGEST = (255, 127)  # uint8 activation, int8 weight


def describe() -> str:
    """One line for the head of a table: software, CPU, and whether its integer kernels saturate."""
    hidden = "without-vnni" in ort.__file__
    features = "AVX512 and VNNI hidden from onnxruntime" if hidden else _features()
    exact = "saturating" if saturates() else "exact"
    return (
        f"onnxruntime {ort.__version__} on {_cpu_name()}, {os.cpu_count()} cores; {features}; "
        f"u8×s8 kernels: {exact}"
    )


def saturates() -> bool:
    """Do the u8×s8 kernels add pairs of products in saturating 16 bits? Measured, not guessed."""
    activation, weight = _LARGEST
    weights = numpy_helper.from_array(np.full((2, 1), weight, np.int8), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "pair",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 1])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.full((1, 2), activation, np.uint8)})
    return bool(y != 2 * activation * weight)


def _features() -> str:
    flags = _cpu_info("flags").split()
    known = {"avx2": "AVX2", "avx512f": "AVX512", "avx512_vnni": "VNNI", "avx_vnni": "AVX-VNNI"}
    found = [name for flag, name in known.items() if flag in flags]
    return " ".join(found) or platform.machine()


def _cpu_name() -> str:
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(key: str) -> str:
    """The first value of a key in Linux's list of processors; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
