"""What quantized and compressed models have in common: call them, look at them, prove them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from tersor.checked import Count, checked
from tersor.data.feeds import Data, Labels
from tersor.data.outputs import Outputs
from tersor.data.synthetic import example_tensors
from tersor.export.html import table
from tersor.export.onnx import ExportResult
from tersor.export.runtime import Config
from tersor.export.verify import Verification
from tersor.export.verify import verify as verify_file
from tersor.frontend.capture import Example
from tersor.graph.network import Network, Record
from tersor.names import RuntimeName
from tersor.quant.layerwise import OnLayer
from tersor.quant.sensitivity import Sensitivity
from tersor.report.contents import Budget, Report
from tersor.report.summary import Summary, summarize
from tersor.report.tables import html
from tersor.results.reporting import Subject, Wanted, make_report
from tersor.training.log import Line


@dataclass(repr=False)
class Result(ABC):
    """A network that was made of another, and the way to a file that is proven.

    Attributes:
        network: What was made. `network.module` is an ordinary PyTorch module.
        original: The captured float model.
        training: The curve of a training, if there was one.
    """

    _has_integers: ClassVar[bool] = True  # layers are meant to run on integers

    network: Network
    original: Network
    training: tuple[Line, ...] = field(default=(), kw_only=True)

    def __call__(self, *args: Example, **kwargs: Example) -> Outputs:
        """Run the network, with the signature of the original."""
        return self.network(*args, **kwargs)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return table(self.rows()) + html(self.summary())

    @property
    def records(self) -> list[Record]:
        """What every step did or refused, in order."""
        return self.network.records

    def summary(self) -> Summary:
        """The records counted per step, with the refusals grouped by reason; print it."""
        return summarize(self.records)

    @abstractmethod
    def rows(self) -> list[tuple[str, str]]:
        """What it is, as names and values."""

    @abstractmethod
    def export(self, path: str | Path, opset: int = 21) -> ExportResult:
        """Write the ONNX file; see `tersor.export.onnx.export_onnx`.

        Args:
            path: Where it goes.
            opset: Version of the ONNX operator set, at least 21.
        """

    @abstractmethod
    def _runtime(self) -> tuple[RuntimeName, Config]:
        """Where its files are verified, and with which session options."""

    @abstractmethod
    def _subject(self) -> Subject:
        """What a report is about."""

    @checked()
    def verify(
        self,
        path: str | Path,
        inputs: Data = None,
        *,
        labels: Labels | None = None,
        config: Config | None = None,
        runtime: RuntimeName | None = None,
        latency: bool = True,
        on_step: Callable[[str], None] | None = None,
    ) -> Verification:
        """Compare the network, the exported file and the float model in a runtime.

        Args:
            path: The file that `export` wrote.
            inputs: A tensor, tuple, mapping, or an iterable of batches. Default: the example.
            labels: Class of each sample, in the order of the inputs.
            config: Session options that users of the file set. Default: those of the scheme.
            runtime: What users run the file in. Default: the runtime of the scheme; without
                OpenVINO, files for it are verified in onnxruntime. The result names the runtime.
            latency: Whether to time the two files.
            on_step: Called with the name of each step before it runs.
        """
        usual, session = self._runtime()
        found = verify_file(
            self.original,
            self.network,
            path,
            example_tensors(self.original) if inputs is None else inputs,
            labels=labels,
            config=session if config is None else config,
            runtime=runtime or usual,
            latency=latency,
            on_step=on_step,
        )
        return found if self._has_integers else replace(found, kernels=())

    @checked()
    def report(
        self,
        path: str | Path | None = None,
        inputs: Data = None,
        labels: Labels | None = None,
        *,
        verification: Verification | None = None,
        verify: bool = True,
        samples: Count = 32,
        title: str | None = None,
        command: str | None = None,
        sensitivity: Sequence[Sensitivity] = (),
        curve: Sequence[Budget] = (),
        on_step: Callable[[str], None] | None = None,
        on_layer: OnLayer | None = None,
    ) -> Report:
        """All that is known of the model, as plain data, and as a page if a path is given.

        Args:
            path: Where it goes: JSON where the name ends with `.json`, else one HTML page that
                needs nothing else. None writes nothing.
            inputs: As for `verify`; layers are measured on them, too.
            labels: Class of each sample.
            verification: What `verify` said already; else a file is written aside and verified.
            verify: Whether the runtime is asked at all.
            samples: Layers are measured on so many of the samples.
            title: Heading.
            command: The command that made the model.
            sensitivity: Damage of layers: the `sensitivities` of what `tersor.search_bits` returns.
            curve: The network at several budgets: the `budgets` of what `tersor.pareto` returns.
            on_step: Called with the name of each step before it runs. Default: a progress bar.
            on_layer: Called after each layer that is measured.
        """
        known = verification, verify, samples, title, command, sensitivity, curve
        return make_report(
            self._subject(),
            Wanted(path, inputs, labels, *known),
            self.export,
            self.verify,
            on_step=on_step,
            on_layer=on_layer,
        )
