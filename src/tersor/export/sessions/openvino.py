"""Runs files in OpenVINO, and finds the kernels that it uses.

OpenVINO is optional (`pip install 'tersor[openvino]'`) and imported when it is first used.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tersor.data.given.feeds import Arrays
from tersor.errors import InvalidInputError
from tersor.export.sessions.runtime import Config, Runtime

NAME = "openvino"
#: Keep 32-bit floats where the file has them; otherwise the CPU plugin may choose 16 bits.
_EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


def is_installed() -> bool:
    """True if OpenVINO can be imported."""
    return find_spec("openvino") is not None


class OpenVINORuntime(Runtime):
    """One ONNX file, loaded by OpenVINO on the CPU, with the attributes of `Runtime`."""

    def __init__(
        self, path: str | Path, *, config: Config = (), threads: int | None = None
    ) -> None:
        """Load a file.

        Args:
            path: The file.
            config: Ignored, since these are onnxruntime's session options.
            threads: Number of threads; OpenVINO chooses by default.

        Raises:
            InvalidInputError: OpenVINO is not installed, or the file cannot be loaded.
        """
        del config
        super().__init__(path, optimize=False)  # names, shapes and types of inputs and outputs
        if not is_installed():
            raise InvalidInputError(
                "OpenVINO is missing: pip install 'tersor[openvino]', or verify in onnxruntime"
            )
        import openvino

        options: dict[str, Any] = dict(_EXACT)
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            core = openvino.Core()
            self._compiled = core.compile_model(core.read_model(str(path)), "CPU", options)
        except Exception as error:
            lines = str(error).strip().splitlines()
            raise InvalidInputError(
                f"OpenVINO cannot load {str(path)!r}: {lines[-1] if lines else error!r}"
            ) from error

    def _run(self, feed: Arrays) -> list[Any]:
        results = self._compiled(list(feed.values()))
        return [results[i] for i in range(len(self.outputs))]

    def primitives(self) -> Iterator[tuple[set[str], str]]:
        """Find the nodes of the file that each running op computes, and its kernel.

        Kernels have names such as `jit_avx2_I8`; `I8` means that they run on integers.
        """
        for op in self._compiled.get_runtime_model().get_ops():
            info = op.get_rt_info()
            if "primitiveType" in info and "originalLayersNames" in info:
                nodes = str(info["originalLayersNames"].astype(str)).split(",")
                yield set(nodes), str(info["primitiveType"].astype(str))
