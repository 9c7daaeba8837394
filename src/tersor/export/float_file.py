"""The files of a float network, written once for everything that compares with it."""

import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from tersor.export.onnx.writer import export_onnx
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
        self._pt2: Path | None = None
        self._programs: dict[tuple[tuple[str, int], ...], Path] = {}

    def __reduce__(self) -> tuple[type["FloatFile"], tuple[Network]]:
        return FloatFile, (self.network,)

    def path(self) -> Path:
        """The ONNX file."""
        if self._path is None or not self._path.is_file():
            self._path = export_onnx(
                self.network, self._folder() / "float.onnx", expected=False
            ).path
        return self._path

    def program(self, largest: Mapping[str, int]) -> Path:
        """The file for ExecuTorch.

        Args:
            largest: Name of an open axis → its largest size.
        """
        sizes = tuple(sorted(largest.items()))
        if sizes not in self._programs:
            from tersor.export.executorch.program import export_pte  # loads what no ONNX file needs

            path = self._folder() / "float.pte"
            self._programs[sizes] = export_pte(self.network, path, largest).path
        return self._programs[sizes]

    def pt2(self) -> Path:
        """The program of PyTorch."""
        if self._pt2 is None or not self._pt2.is_file():
            from tersor.export.pytorch.pt2_writer import export_pt2  # loads what no ONNX file needs

            self._pt2 = export_pt2(self.network, self._folder() / "float.pt2").path
        return self._pt2

    def _folder(self) -> Path:
        stack = ExitStack()
        weakref.finalize(self, stack.close)
        return stack.enter_context(temporary_folder())
