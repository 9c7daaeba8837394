"""The ONNX file of a float network, written once for everything that compares with it."""

import weakref
from contextlib import ExitStack
from pathlib import Path

from tersor.export.onnx import export_onnx
from tersor.files import temporary_folder
from tersor.graph.network import Network


class FloatFile:
    """A file that is written when it is asked for, and lives as long as this object.

    Attributes:
        network: The float network, which must not change any more.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._path: Path | None = None

    def __reduce__(self) -> tuple[type["FloatFile"], tuple[Network]]:
        return FloatFile, (self.network,)

    def path(self) -> Path:
        """The file."""
        if self._path is None or not self._path.is_file():
            stack = ExitStack()
            folder = stack.enter_context(temporary_folder())
            weakref.finalize(self, stack.close)
            self._path = export_onnx(self.network, folder / "float.onnx").path
        return self._path
