"""The runtimes that run files: how each loads one, and what it tells of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tersor.errors import InvalidInputError
from tersor.export.drawbacks import drawbacks
from tersor.export.executorch.loaded import ExecuTorchRuntime
from tersor.export.float_file import FloatFile
from tersor.export.kernels import Kernel, kernels, openvino_kernels
from tersor.export.pytorch.pt2_runtime import NAME as PYTORCH
from tersor.export.pytorch.pt2_runtime import PyTorchRuntime
from tersor.export.sessions.latency import Latency
from tersor.export.sessions.openvino import OpenVINORuntime
from tersor.export.sessions.runtime import Config, Runtime
from tersor.names import RuntimeName

PROGRAM = ".pte"  # the files of ExecuTorch
PT2 = ".pt2"  # those of PyTorch


@dataclass(frozen=True)
class Serving:
    """A runtime that runs files.

    Attributes:
        name: Its name.
        load: Loads a file.
        kernels: Finds the kernel of each layer of a file.
        drawbacks: Says where a file is worse than the float file, and why.
        floating: Finds the file of the float model that is like a file that was loaded.
        exact: Loads a file so that every node is computed as it is in the file, with
            `optimize=False`; None if that is not possible.
        is_onnx: Whether its files are ONNX files, which onnxruntime can run as well.
    """

    name: RuntimeName
    load: type[Runtime]
    kernels: Callable[[Path, Config], list[Kernel]]
    drawbacks: Callable[[Path, Path, Latency | None, Config], list[str]]
    floating: Callable[[FloatFile, Runtime], Path]
    exact: type[Runtime] | None = Runtime
    is_onnx: bool = True


def _none(*_: object) -> list[str]:
    return []


def _openvino_kernels(path: Path, _: Config) -> list[Kernel]:
    return openvino_kernels(path)


def _delegates(path: Path, _: Config) -> list[Kernel]:
    return ExecuTorchRuntime(path).kernels()


def _compiled(path: Path, _: Config) -> list[Kernel]:
    return PyTorchRuntime(path).kernels()


def _onnx(files: FloatFile, _: Runtime) -> Path:
    return files.path()


def _program(files: FloatFile, loaded: Runtime) -> Path:
    return files.program(loaded.largest if isinstance(loaded, ExecuTorchRuntime) else {})


def _pt2(files: FloatFile, _: Runtime) -> Path:
    return files.pt2()


_SERVINGS: dict[RuntimeName, Serving] = {
    found.name: found
    for found in (
        Serving("onnxruntime", Runtime, kernels, drawbacks, _onnx),
        Serving("openvino", OpenVINORuntime, _openvino_kernels, _none, _onnx),
        Serving("executorch", ExecuTorchRuntime, _delegates, _none, _program, None, is_onnx=False),
        Serving(PYTORCH, PyTorchRuntime, _compiled, _none, _pt2, PyTorchRuntime, is_onnx=False),
    )
}
_OWN: dict[str, RuntimeName] = {PROGRAM: "executorch", PT2: PYTORCH}  # ending → what runs it


def serving(runtime: RuntimeName, path: Path) -> Serving:
    """Find the runtime that runs a file.

    Args:
        runtime: Its name, for ONNX files.
        path: The file; ExecuTorch runs each `.pte`, PyTorch each `.pt2`, and nothing else.

    Raises:
        InvalidInputError: There is no such runtime.
    """
    if runtime not in _SERVINGS:
        raise InvalidInputError(f"unknown runtime {runtime!r}; choose from {', '.join(_SERVINGS)}")
    if path.suffix in _OWN:
        return _SERVINGS[_OWN[path.suffix]]
    return _SERVINGS["onnxruntime" if runtime in _OWN.values() else runtime]
