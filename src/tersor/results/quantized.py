"""What `quantize` returns: the simulation, and the way from it to a file that is proven."""

from dataclasses import dataclass
from pathlib import Path

from tersor.checked import checked
from tersor.export import openvino
from tersor.export.onnx import ExportResult, export_onnx
from tersor.export.runtime import Config
from tersor.graph.network import Network
from tersor.names import RuntimeName, Storage
from tersor.quant.scheme import Scheme
from tersor.report.outline import rows
from tersor.results.base import Result
from tersor.results.reporting import Subject


@dataclass(repr=False)
class Quantized(Result):
    """A quantized model: call it, look at it, export it, prove it.

    Attributes:
        network: The simulation. `network.module` is an ordinary PyTorch module.
        original: The captured float model.
        scheme: The integer format.
        prepared: The float network that was rounded: BatchNorm folded, channels equalized.
        training: The curve of a training, if there was one.
    """

    scheme: Scheme
    prepared: Network | None = None

    def __repr__(self) -> str:
        return f"Quantized({self.scheme.name}, {self.network!r})"

    def rows(self) -> list[tuple[str, str]]:
        """What it is, as names and values."""
        return [("format", self.scheme.summary), *rows(self.network)]

    @checked()
    def export(self, path: str | Path, opset: int = 21, storage: Storage = "int8") -> ExportResult:
        """Write the ONNX file; see `tersor.export.onnx.export_onnx`."""
        return export_onnx(self.network, path, opset=opset, scheme=self.scheme, storage=storage)

    def _runtime(self) -> tuple[RuntimeName, Config]:
        return runtime_of(self.scheme)

    def _subject(self) -> Subject:
        networks = self.network, self.original, self.prepared
        return Subject("quantized", *networks, self.scheme.name, self.training)


def runtime_of(scheme: Scheme) -> tuple[RuntimeName, Config]:
    """Where files of a scheme are verified on this machine, and with which session options."""
    is_here = scheme.runtime != openvino.NAME or openvino.is_installed()
    return scheme.runtime if is_here else "onnxruntime", scheme.session
