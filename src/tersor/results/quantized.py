"""What `quantize` returns: the simulation, and the way from it to a file that is proven."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersor.data.samples import given_or_example
from tersor.export import openvino
from tersor.export.onnx import ExportResult, export_onnx
from tersor.export.verify import Verification
from tersor.export.verify import verify as verify_file
from tersor.graph.network import Network, OnLayer, Record
from tersor.html import table
from tersor.quant.scheme import Scheme
from tersor.report.contents import Report
from tersor.report.outline import rows
from tersor.report.summary import Summary, summarize
from tersor.report.tables import html
from tersor.results.reporting import Subject, Wanted, make_report
from tersor.training.log import Line


@dataclass(repr=False)
class Quantized:
    """A quantized model: call it, look at it, export it, prove it.

    Attributes:
        network: The simulation. `network.module` is an ordinary PyTorch module.
        original: The captured float model.
        scheme: The integer format.
        prepared: The float network that was rounded: BatchNorm folded, channels equalized.
        training: The curve of a training, if there was one.
    """

    network: Network
    original: Network
    scheme: Scheme
    prepared: Network | None = None
    training: tuple[Line, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Simulate the quantized model, with the signature of the original."""
        return self.network(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Quantized({self.scheme.name}, {self.network!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return table([("format", self.scheme.summary), *rows(self.network)]) + html(self.summary())

    @property
    def records(self) -> list[Record]:
        """What every step did or refused, in order."""
        return self.network.records

    def summary(self) -> Summary:
        """The records counted per step, with the refusals grouped by reason; print it."""
        return summarize(self.records)

    def export(self, path: str | Path, opset: int = 21, storage: str = "int8") -> ExportResult:
        """Write the ONNX file; see `tersor.export.onnx.export_onnx`."""
        return export_onnx(self.network, path, opset=opset, scheme=self.scheme, storage=storage)

    def verify(self, path: str | Path, inputs: Any = None, **options: Any) -> Verification:
        """Compare simulation, exported file and float model in the runtime of the scheme.

        Without OpenVINO, files for it are verified in onnxruntime; the result names the runtime.

        Args:
            path: The file that `export` wrote.
            inputs: A tensor, tuple, mapping, or an iterable of batches. Default: the example.
            options: Passed on to `tersor.export.verify.verify`.
        """
        given = given_or_example(self.original, inputs)
        options = {**runtime_options(self.scheme), **options}
        return verify_file(self.original, self.network, path, given, **options)

    def report(
        self,
        path: str | Path | None = None,
        inputs: Any = None,
        labels: Any = None,
        *,
        on_step: Callable[[str], None] | None = None,
        on_layer: OnLayer | None = None,
        **options: Any,
    ) -> Report:
        """All that is known of the model, as plain data, and as a page if a path is given.

        Args:
            path: Where it goes: JSON where the name ends with `.json`, else one HTML page that
                needs nothing else. None writes nothing.
            inputs: As for `verify`.
            labels: Class of each sample.
            on_step: Called with the name of each step before it runs. Default: a progress bar.
            on_layer: Called after each layer that is measured.
            options: See `tersor.results.reporting.Wanted`.
        """
        subject = Subject(
            "quantized", self.network, self.original, self.prepared, self.scheme.name, self.training
        )
        wanted = Wanted(path, inputs, labels, **options)
        told: Any = {"on_step": on_step, "on_layer": on_layer}
        return make_report(subject, wanted, self.export, self.verify, **told)


def runtime_options(scheme: Scheme) -> dict[str, Any]:
    """Where files of a scheme are verified, as options of `tersor.export.verify.verify`."""
    is_here = scheme.runtime != openvino.NAME or openvino.is_installed()
    return {"runtime": scheme.runtime if is_here else "onnxruntime", "config": scheme.session}
