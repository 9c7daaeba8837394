"""What `compress` returns: a smaller float network, and the way to a file or to a quantized one."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tersor.data.samples import given_or_example
from tersor.data.synthetic import example_tensors
from tersor.export.latency import Latency, measure_latency
from tersor.export.onnx import ExportResult, export_onnx
from tersor.export.verify import Verification
from tersor.export.verify import verify as verify_file
from tersor.graph.costs import Cost, costs, total
from tersor.graph.network import Network, OnLayer, Record
from tersor.html import table
from tersor.report.contents import Report
from tersor.report.summary import Summary, summarize
from tersor.report.tables import html
from tersor.results.reporting import Subject, Wanted, make_report
from tersor.training.log import Line


@dataclass(repr=False)
class Compressed:
    """A compressed model: call it, look at it, train it, export it, prove it, quantize it.

    `tersor.quantize` and `tersor.compress` take `network`, `tersor.train` takes the whole.

    Attributes:
        network: The compressed network. `network.module` is an ordinary PyTorch module.
        original: The captured model.
        training: The curve of a training, if there was one.
    """

    network: Network
    original: Network
    training: tuple[Line, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the compressed model, with the signature of the original."""
        return self.network(*args, **kwargs)

    def __repr__(self) -> str:
        left = self.cost.macs / max(1, self.original_cost.macs)
        return f"Compressed({left:.1%} of the MACs, {self.network!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return table(self.rows()) + html(self.summary())

    @property
    def records(self) -> list[Record]:
        """What every step did or refused, in order."""
        return self.network.records

    @property
    def cost(self) -> Cost:
        """MACs for one sample, and parameters of all layers."""
        return total(costs(self.network).values())

    @property
    def original_cost(self) -> Cost:
        """Those of the original."""
        return total(costs(self.original).values())

    def rows(self) -> list[tuple[str, str]]:
        """What is left of what there was, as names and values."""
        before, after = self.original_cost, self.cost
        pairs = {
            "MACs": (before.macs, after.macs),
            "parameters": (before.parameters, after.parameters),
        }
        return [
            (name, f"{old:,} → {new:,} ({new / old:.1%})") for name, (old, new) in pairs.items()
        ]

    def as_dict(self) -> dict[str, Any]:
        """The same, and the summary, for JSON."""
        before, after = self.original_cost, self.cost
        return {"before": asdict(before), "after": asdict(after), **self.summary().as_dict()}

    def summary(self) -> Summary:
        """The records counted per step, with the refusals grouped by reason; print it."""
        return summarize(self.records)

    def export(self, path: str | Path, opset: int = 21) -> ExportResult:
        """Write the ONNX file; see `tersor.export.onnx.export_onnx`."""
        return export_onnx(self.network, path, opset=opset)

    def latency(self, rounds: int = 25) -> Latency:
        """Time its file and that of the original in onnxruntime, in turns.

        Args:
            rounds: How many times each is measured.
        """
        with tempfile.TemporaryDirectory() as folder:
            before, after = (Path(folder) / name for name in ("before.onnx", "after.onnx"))
            export_onnx(self.original, before)
            export_onnx(self.network, after)
            return measure_latency(before, after, example_tensors(self.network), rounds=rounds)

    def verify(self, path: str | Path, inputs: Any = None, **options: Any) -> Verification:
        """Compare compressed network, exported file and original model in onnxruntime.

        Args:
            path: The file that `export` wrote.
            inputs: A tensor, tuple, mapping, or an iterable of batches. Default: the example.
            options: Passed on to `tersor.export.verify.verify`.
        """
        given = given_or_example(self.original, inputs)
        found = verify_file(self.original, self.network, path, given, **options)
        return replace(found, kernels=())  # none is meant to run on integers

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
        subject = Subject("compressed", self.network, self.original, None, "float", self.training)
        wanted = Wanted(path, inputs, labels, **options)
        told: Any = {"on_step": on_step, "on_layer": on_layer}
        return make_report(subject, wanted, self.export, self.verify, **told)
