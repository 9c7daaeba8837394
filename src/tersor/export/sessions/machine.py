"""Describes the machine for integer files: its CPU, its runtimes, and whether kernels are exact."""

import os
import platform
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

_LARGEST = (255, 127)  # uint8 activation, int8 weight
_FEATURES = {  # flag in Linux's list → name
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "avx512_vnni": "VNNI",
    "avx_vnni": "AVX-VNNI",
    "amx_int8": "AMX",
    "asimddp": "dot product",
    "i8mm": "int8 matrix product",
}
_HIDDEN = {"AVX512", "VNNI", "AVX-VNNI", "AMX"}  # by `benchmarks.without_vnni`
_FAST = {"VNNI", "AVX-VNNI", "AMX", "dot product", "int8 matrix product"}
_PACKAGES = {  # package → its purpose
    "tersor": "",
    "torch": "",
    "onnx": "",
    "onnxruntime": "",
    "accelerate": "tersor.train",
    "executorch": "it writes and verifies .pte files, for phones",
    "openvino": "it verifies files of the scheme openvino-cpu",
    "pillow": "it reads folders of images for --data",
    "altair": "it draws the plots of HTML reports",
    "msgspec": "it writes reports as HTML and JSON",
}


@dataclass(frozen=True)
class Machine:
    """The hardware and software of a machine.

    Attributes:
        cpu: Name of the CPU.
        cores: Number of cores.
        features: Instructions for integers that it is known to have; empty if the system does not
            say.
        saturates: Whether onnxruntime's u8×s8 kernels add up in saturating 16 bits here, measured.
        packages: Package → version, or None if it is not installed.
        accelerators: GPUs that PyTorch sees.
    """

    cpu: str
    cores: int
    features: tuple[str, ...]
    saturates: bool
    packages: dict[str, str | None]
    accelerators: tuple[str, ...]

    def advice(self) -> list[str]:
        """Explain what that means for quantized files, in sentences."""
        found = []
        if self.saturates:
            found.append(
                "onnxruntime's fast integer kernels saturate on this CPU. Files of the default "
                "scheme, onnxruntime-cpu, are exact nevertheless. Those of onnxruntime-vnni, and "
                "of other tools, may lose accuracy here."
            )
        else:
            found.append(
                "onnxruntime's integer kernels are exact on this CPU. If your files run only here, "
                "--scheme onnxruntime-vnni gives weights their full range."
            )
        if self.features and _FAST.isdisjoint(self.features):
            found.append(
                "The CPU has no instructions for dot products of integers. Expect int8 to be as "
                "fast as float, or up to twice as fast; newer CPUs gain more."
            )
        missing = [name for name, value in self.packages.items() if value is None]
        found += [f"{name} is not installed; {_PACKAGES[name]}." for name in missing]
        return found

    def rows(self) -> list[tuple[str, str]]:
        """The description as names and values."""
        exact = "saturate" if self.saturates else "exact"
        return [
            ("CPU", f"{self.cpu}, {self.cores} cores"),
            ("integer instructions", ", ".join(self.features) or "not known"),
            ("u8×s8 kernels of onnxruntime", exact),
            ("GPUs", ", ".join(self.accelerators) or "none that PyTorch sees"),
            *((name, value or "not installed") for name, value in self.packages.items()),
        ]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "advice": self.advice()}

    def __str__(self) -> str:
        names = " ".join(self.features)
        shown = "AVX512 and VNNI hidden from onnxruntime" if _is_hidden() else names
        return (
            f"onnxruntime {ort.__version__} on {self.cpu}, {self.cores} cores; "
            f"{shown or platform.machine()}; "
            f"u8×s8 kernels: {'saturating' if self.saturates else 'exact'}"
        )


def doctor() -> Machine:
    """Describe the machine that this runs on; takes a moment, since one product is computed."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Machine(
        _cpu_info("model name") or platform.processor() or platform.machine(),
        os.cpu_count() or 1,
        features(),
        saturates(),
        {name: _version(name) for name in _PACKAGES},
        tuple(gpus),
    )


def saturates() -> bool:
    """Measure whether the u8×s8 kernels add pairs of products in saturating 16 bits."""
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


@cache
def features() -> tuple[str, ...]:
    """The instructions for integers that onnxruntime sees here, as far as the system says."""
    flags = (_cpu_info("flags") or _cpu_info("Features")).split()
    found = (name for flag, name in _FEATURES.items() if flag in flags)
    return tuple(name for name in found if not (_is_hidden() and name in _HIDDEN))


def _is_hidden() -> bool:
    return "without-vnni" in ort.__file__


def _cpu_info(key: str) -> str:
    """The first value of a key in Linux's list of processors; empty on other systems."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
