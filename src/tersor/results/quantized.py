"""The result of `quantize`: the simulation, with the means to export and verify it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from tersor.checked import checked
from tersor.data.given.feeds import Data, batches, input_names, split_labels
from tersor.data.invented.plausible import Assumed, Plausible, worst_plausible
from tersor.export.by_name import export_file
from tersor.export.executorch import loaded
from tersor.export.onnx.writer import ExportResult, export_onnx
from tersor.export.proof.verification import Verification
from tersor.export.sessions import openvino
from tersor.export.sessions.latency import slowdown
from tersor.export.sessions.runtime import Config
from tersor.graph.network import Network
from tersor.names import RuntimeName, Storage
from tersor.quant.scheme import Scheme
from tersor.report.outline import rows
from tersor.results.base import Result
from tersor.results.compressed import cost_rows
from tersor.results.reporting import Subject
from tersor.saved.result_file import Parts


@dataclass(repr=False, eq=False)
class Quantized(Result):
    """A quantized model: call it, inspect it, train it, export it, verify it.

    Attributes:
        network: The simulation. `network.module` is the graph as a PyTorch module.
        original: The captured float model.
        scheme: The integer format.
        prepared: The float network that was rounded: BatchNorms folded, channels equalized.
        assumed: What was assumed about the inputs, if there were no data.
        compressed: The float network that was quantized, if `original` was compressed first.
        training: The training curve, if the network was trained.
    """

    _beside: ClassVar[tuple[str, ...]] = ("original", "prepared", "compressed")

    scheme: Scheme
    prepared: Network | None = None
    assumed: Assumed | None = None
    compressed: Network | None = None

    def __repr__(self) -> str:
        return f"Quantized({self.scheme.name}, {self.network!r})"

    def rows(self) -> list[tuple[str, str]]:
        """The main figures, as names and values."""
        found = dict(rows(self.network))
        if self.compressed is not None:
            found |= cost_rows(self.original, self.network)
        return [("format", self.scheme.summary), *found.items()]

    @checked()
    def export(
        self,
        path: str | Path,
        opset: int | None = None,
        storage: Storage = "int8",
        *,
        input_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        largest: Mapping[str, int] | None = None,
    ) -> ExportResult:
        """Write an `.onnx`, `.pte` or `.pt2` file; see `tersor.export.by_name.export_file`."""
        return export_file(
            self.network,
            path,
            opset=opset,
            scheme=self.scheme,
            storage=storage,
            input_names=input_names,
            output_names=output_names,
            largest=largest,
        )

    def _write(self, path: Path) -> ExportResult:
        return export_onnx(self.network, path, scheme=self.scheme, expected=False)

    @checked()
    def slowdown(self, path: str | Path, inputs: Data = None) -> float:
        """How many times as long as the float file a file takes, if that is clearly longer; else 1.

        It is measured in onnxruntime, in processor time of one thread.

        Args:
            path: The file that `export` wrote.
            inputs: As for `verify`; one sample is used.
        """
        given = self.own_inputs().inputs if inputs is None else inputs
        _, session = self._runtime()
        floating = self._float_file.path()
        batch, _ = split_labels(next(iter(batches(given))), len(input_names(self.network)))
        return slowdown(floating, path, batch, session)

    def own_inputs(self) -> Plausible:
        """Inputs to verify on if none are given.

        With data, they are the example. Without, ranges come from the example, so they are others:
        photographs, or noise with their spectrum. Where their range is a guess, the worst of the
        usual ranges is taken.
        """
        if self.assumed is None:
            return super().own_inputs()
        return worst_plausible(self.network, self.original, self.assumed)

    def _judged(self, found: Verification) -> Verification:
        return found if self.scheme.computes_integers else replace(found, kernels=())

    def _runtime(self) -> tuple[RuntimeName, Config]:
        return runtime_of(self.scheme)

    def _subject(self) -> Subject:
        networks = self.network, self.original, self.prepared
        target = self.scheme.name
        return Subject("quantized", *networks, target, self.training, self.compressed)

    @property
    def _parts(self) -> Parts:
        named = {name: getattr(self, name) for name in ("network", *self._beside)}
        networks = {name: network for name, network in named.items() if network is not None}
        return Parts("quantized", networks, self.scheme, self.assumed, tuple(self.training))

    @classmethod
    def _of_parts(cls, parts: Parts) -> "Quantized":
        networks = parts.networks
        if parts.scheme is None:
            raise KeyError("scheme")
        ready = networks["network"], networks["original"], parts.scheme
        beside = networks.get("prepared"), parts.assumed, networks.get("compressed")
        return cls(*ready, *beside, training=parts.training)


def runtime_of(scheme: Scheme) -> tuple[RuntimeName, Config]:
    """The runtime that verifies files of a scheme on this machine, and its session options."""
    known = {openvino.NAME: openvino.is_installed, loaded.NAME: loaded.is_installed}
    is_here = known.get(scheme.runtime, lambda: True)
    return scheme.runtime if is_here() else "onnxruntime", scheme.session
