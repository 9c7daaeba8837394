"""The base of quantized and compressed models: call, inspect, export, verify, report."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from tersor.checked import Count, checked
from tersor.data.given.feeds import Data, Labels
from tersor.data.invented.plausible import Plausible
from tersor.data.outputs.outputs import Metric, Outputs
from tersor.data.suitability.suitability import SAMPLES
from tersor.export.float_file import FloatFile
from tersor.export.onnx.writer import ExportResult
from tersor.export.proof.html import table
from tersor.export.proof.verification import Verification
from tersor.export.proof.verify import Options
from tersor.export.proof.verify import verify as verify_file
from tersor.export.sessions.runtime import Config
from tersor.frontend.capture import Example
from tersor.frontend.network_module import converted
from tersor.graph.network import Network, OnLayer, Record, Skipped
from tersor.names import RuntimeName
from tersor.quant.ranges.input_range import GUESS
from tersor.quant.sensitivity import Sensitivity
from tersor.report.contents import Budget, Report
from tersor.report.summary import Summary, summarize
from tersor.report.tables import html
from tersor.results.keepable import Keepable
from tersor.results.reporting import Subject, Wanted, make_report
from tersor.training.log import Line


class Curve(tuple[Line, ...]):
    """The lines of a training; it counts as false, as `training` of a module in evaluation does."""

    def __bool__(self) -> bool:
        return False


@dataclass(repr=False, eq=False)
class Result(Keepable, ABC):
    """A network derived from a float model: a module, with the means to export and verify it.

    Attributes:
        network: The resulting network. `network.module` is an ordinary PyTorch module.
        original: The captured float model.
        training: The training curve, if the network was trained.
    """

    _beside: ClassVar[tuple[str, ...]] = ("original",)  # networks to compare with

    network: Network
    original: Network
    training: tuple[Line, ...] = field(default=(), kw_only=True)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        lines = Curve(self.training)
        super().__post_init__()
        object.__setattr__(self, "training", lines)

    def forward(self, *args: Example, **kwargs: Example) -> Outputs:
        """Run the network, with the signature of the original."""
        return self.network(*args, **kwargs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Result":
        """Convert or move the tensors of this network, and of copies of the float ones."""
        for name in self._beside:
            network = getattr(self, name)
            setattr(self, name, network and converted(network, fn))
        super()._apply(fn, recurse)
        return self

    def _repr_html_(self) -> str:
        """The table that a notebook displays."""
        return table(self.rows()) + html(self.summary())

    @property
    def records(self) -> list[Record]:
        """The records of what every step did or refused, in order."""
        return self.network.records

    def summary(self) -> Summary:
        """Count the records per step, and group the refusals by reason. Print it for a table."""
        return summarize(self.records)

    @abstractmethod
    def rows(self) -> list[tuple[str, str]]:
        """The main figures, as names and values."""

    @abstractmethod
    def export(
        self,
        path: str | Path,
        opset: int | None = None,
        *,
        input_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        largest: Mapping[str, int] | None = None,
    ) -> ExportResult:
        """Write the file: `.onnx`, `.pte` for ExecuTorch, or `.pt2` for `torch.compile`.

        Args:
            path: Where the file is written.
            opset: Version of the ONNX operator set. Default: that of the file that came in, or a
                later one if it must be; 21 for PyTorch models.
            input_names: Names of the inputs, in order. Default: those of the model.
            output_names: Names of the outputs, in order.
            largest: Name of an open axis → its largest size in a `.pte` file, as `{"batch": 8}`.
                Other open axes have the size of the example there, and the batch is 1.
        """

    @abstractmethod
    def _write(self, path: Path) -> ExportResult:
        """Write an ONNX file that only this process reads."""

    @property
    def _float_file(self) -> FloatFile:
        """The file of the float model, for every verification and report of this result."""
        known: FloatFile | None = vars(self).get("_written")
        if known is None or known.network is not self.original:  # it may have been converted
            known = FloatFile(self.original)
            vars(self)["_written"] = known
        return known

    def own_inputs(self) -> Plausible:
        """Inputs to verify on if none are given: the example."""
        return Plausible("the example inputs", [(self.original.args, self.original.kwargs)])

    def _verify_on_own(
        self, path: Path, _: Data, labels: Labels | None, on_step: Callable[[str], None] | None
    ) -> Verification:
        """As `verify` without inputs."""
        return self.verify(path, labels=labels, on_step=on_step)

    def _doubts(self, has_samples: bool) -> list[str]:
        """Why figures are doubtful: samples that do not fit, or a range that is a guess."""
        steps = {SAMPLES} if has_samples else {SAMPLES, GUESS}
        return [r.reason for r in self.records if isinstance(r, Skipped) and r.step in steps]

    @abstractmethod
    def _runtime(self) -> tuple[RuntimeName, Config]:
        """The runtime that verifies its files, and the session options."""

    @abstractmethod
    def _subject(self) -> Subject:
        """The subject of a report."""

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
        metric: Metric | None = None,
        max_metric: float | None = None,
        exact: bool = False,
        on_step: Callable[[str], None] | None = None,
    ) -> Verification:
        """Compare the network, the exported file and the float model in a runtime.

        Args:
            path: The file that `export` wrote.
            inputs: A tensor, tuple, mapping, or an iterable of batches. Default: `own_inputs`.
            labels: The class of each sample, in the order of the inputs.
            config: Session options that users of the file set. Default: those of the scheme.
            runtime: The runtime that users run the file in. Default: that of the scheme. Without
                OpenVINO, its files are verified in onnxruntime. The result names the runtime.
            latency: Whether to time the two files.
            metric: Your own metric, `metric(outputs, reference)`; higher is worse. It takes
                tensors, or tuples of them if there are several outputs, of up to 32 samples.
            max_metric: The largest value of the metric that is good; it then decides the verdict.
            exact: Whether to compare the runtime with a simulation of its kernels' own arithmetic,
                too, on at most the first 64 samples: what differs is rounding, or a fault.
            on_step: Called with the name of each step before it runs.
        """
        usual, session = self._runtime()
        own = self.own_inputs() if inputs is None else None
        options = Options(
            labels=labels,
            config=session if config is None else config,
            runtime=runtime or usual,
            latency=latency,
            metric=metric,
            max_metric=max_metric,
            exact=exact,
        )
        found = verify_file(
            self._float_file,
            self.network,
            path,
            inputs if own is None else own.inputs,
            options,
            compressed=self._subject().compressed,
            on_step=on_step,
        )
        doubts = (*self._doubts(own is None), *found.doubts)
        words = "" if own is None else own.words
        found = replace(found, on_samples=own is None, inputs=words, doubts=doubts)
        if found.costs_most == "compression":
            found = replace(found, remedy="train")
        return self._judged(found)

    def _judged(self, found: Verification) -> Verification:
        """What the verdict is about: whether layers run on integers, if they are meant to."""
        return found

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
        """Collect what is known of the model as plain data, and write a page if a path is given.

        Args:
            path: Where the report is written: as JSON if the name ends with `.json`, otherwise as
                one self-contained HTML page. None writes nothing.
            inputs: As for `verify`; layers are measured on them, too.
            labels: The class of each sample.
            verification: The result of an earlier `verify`. Otherwise a temporary file is written
                and verified.
            verify: Whether to run the file in the runtime at all.
            samples: Number of samples on which layers are measured.
            title: Heading of the report.
            command: The command that produced the model.
            sensitivity: Damage per layer: the `sensitivities` that `tersor.search_bits` returns.
            curve: The network at several budgets: the `budgets` that `tersor.pareto` returns.
            on_step: Called with the name of each step before it runs. Default: a progress bar.
            on_layer: Called after each layer that is measured.
        """
        check = self.verify if inputs is not None else self._verify_on_own
        if inputs is None:
            inputs = self.own_inputs().inputs
        known = verification, verify, samples, title, command, sensitivity, curve
        return make_report(
            self._subject(),
            Wanted(path, inputs, labels, *known),
            self._write,
            check,
            on_step=on_step,
            on_layer=on_layer,
        )
