"""The runtimes that run files: how each loads one, and what it tells of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tersor.errors import InvalidInputError
from tersor.export.drawbacks import drawbacks
from tersor.export.executorch.loaded import ExecuTorchRuntime
from tersor.export.kernels import Kernel, kernels, openvino_kernels
from tersor.export.latency import Latency
from tersor.export.openvino import OpenVINORuntime
from tersor.export.runtime import Config, Runtime
from tersor.names import RuntimeName

PROGRAM = ".pte"  # the files of ExecuTorch


@dataclass(frozen=True)
class Serving:
    """A runtime that runs files.

    Attributes:
        name: Its name.
        load: Loads a file.
        kernels: Finds the kernel of each layer of a file.
        drawbacks: Says where a file is worse than the float file, and why.
        is_onnx: Whether its files are ONNX files, which onnxruntime can run as well.
    """

    name: RuntimeName
    load: type[Runtime]
    kernels: Callable[[Path, Config], list[Kernel]]
    drawbacks: Callable[[Path, Path, Latency | None, Config], list[str]]
    is_onnx: bool = True


def _none(*_: object) -> list[str]:
    return []


def _openvino_kernels(path: Path, _: Config) -> list[Kernel]:
    return openvino_kernels(path)


def _delegates(path: Path, _: Config) -> list[Kernel]:
    return ExecuTorchRuntime(path).kernels()


_SERVINGS: dict[RuntimeName, Serving] = {
    found.name: found
    for found in (
        Serving("onnxruntime", Runtime, kernels, drawbacks),
        Serving("openvino", OpenVINORuntime, _openvino_kernels, _none),
        Serving("executorch", ExecuTorchRuntime, _delegates, _none, is_onnx=False),
    )
}


def serving(runtime: RuntimeName, path: Path) -> Serving:
    """Find the runtime that runs a file.

    Args:
        runtime: Its name, for ONNX files.
        path: The file; ExecuTorch runs each `.pte`, and nothing else.

    Raises:
        InvalidInputError: There is no such runtime.
    """
    if runtime not in _SERVINGS:
        raise InvalidInputError(f"unknown runtime {runtime!r}; choose from {', '.join(_SERVINGS)}")
    if path.suffix == PROGRAM:
        return _SERVINGS["executorch"]
    return _SERVINGS["onnxruntime" if runtime == "executorch" else runtime]
