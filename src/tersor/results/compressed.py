"""The result of `compress`: a smaller float network that can be exported, trained or quantized."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tersor.checked import Count, checked
from tersor.data.invented.synthetic import example_tensors
from tersor.export.by_name import export_file
from tersor.export.onnx.writer import ExportResult, export_onnx
from tersor.export.proof.verification import Verification
from tersor.export.sessions.latency import Latency, measure_latency
from tersor.export.sessions.runtime import Config
from tersor.files import temporary_folder
from tersor.graph.costs import Cost, costs, total
from tersor.graph.network import Network
from tersor.names import RuntimeName
from tersor.results.base import Result
from tersor.results.reporting import Subject
from tersor.saved.result_file import Parts


@dataclass(repr=False, eq=False)
class Compressed(Result):
    """A compressed model: call it, inspect it, train it, export it, verify it, quantize it.

    Pass it to `tersor.quantize`, `tersor.compress` or `tersor.train`.

    Attributes:
        network: The compressed network. `network.module` is the graph as a PyTorch module.
        original: The captured float model.
        training: The training curve, if the network was trained.
    """

    def _judged(self, found: Verification) -> Verification:
        return replace(found, kernels=(), remedy="train")

    def __repr__(self) -> str:
        left = self.cost.macs / max(1, self.original_cost.macs)
        return f"Compressed({left:.1%} of the MACs, {self.network!r})"

    @property
    def cost(self) -> Cost:
        """The MACs per sample and the parameters, summed over all layers."""
        return total(costs(self.network).values())

    @property
    def original_cost(self) -> Cost:
        """The MACs per sample and the parameters of the original model."""
        return total(costs(self.original).values())

    def rows(self) -> list[tuple[str, str]]:
        """The MACs and parameters before and after, as names and values."""
        return cost_rows(self.original, self.network)

    def as_dict(self) -> dict[str, object]:
        """The cost before and after, and the summary, as plain data for JSON."""
        before, after = self.original_cost, self.cost
        return {"before": asdict(before), "after": asdict(after), **self.summary().as_dict()}

    @checked()
    def export(
        self,
        path: str | Path,
        opset: int | None = None,
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
            input_names=input_names,
            output_names=output_names,
            largest=largest,
        )

    def _write(self, path: Path) -> ExportResult:
        return export_onnx(self.network, path, expected=False)

    @checked()
    def latency(self, rounds: Count = 25) -> Latency:
        """Time its file and that of the original alternately in onnxruntime.

        Args:
            rounds: Number of times that each file is measured.
        """
        with temporary_folder() as folder:
            after = self._write(folder / "after.onnx").path
            before = self._float_file.path()
            return measure_latency(before, after, example_tensors(self.network), rounds=rounds)

    def _runtime(self) -> tuple[RuntimeName, Config]:
        return "onnxruntime", ()

    def _subject(self) -> Subject:
        return Subject("compressed", self.network, self.original, None, "float", self.training)

    @property
    def _parts(self) -> Parts:
        networks = {"network": self.network, "original": self.original}
        return Parts("compressed", networks, training=tuple(self.training))

    @classmethod
    def _of_parts(cls, parts: Parts) -> "Compressed":
        networks = parts.networks
        return cls(networks["network"], networks["original"], training=parts.training)


def cost_rows(original: Network, network: Network) -> list[tuple[str, str]]:
    """The MACs and parameters of two networks, as names and values.

    Args:
        original: The network before it was compressed.
        network: The network after it.
    """
    before, after = (total(costs(found).values()) for found in (original, network))
    pairs = {
        "MACs": (before.macs, after.macs),
        "parameters": (before.parameters, after.parameters),
    }
    return [
        (name, f"{old:,} → {new:,} ({new / max(old, 1):.1%})") for name, (old, new) in pairs.items()
    ]
