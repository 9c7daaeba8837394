"""What `compress` returns: a smaller float network, and the way to a file or to a quantized one."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from tersor.checked import Count, checked
from tersor.data.synthetic import example_tensors
from tersor.export.latency import Latency, measure_latency
from tersor.export.onnx import ExportResult, export_onnx
from tersor.export.runtime import Config
from tersor.graph.costs import Cost, costs, total
from tersor.names import RuntimeName
from tersor.results.base import Result
from tersor.results.reporting import Subject


@dataclass(repr=False)
class Compressed(Result):
    """A compressed model: call it, look at it, train it, export it, prove it, quantize it.

    `tersor.quantize` and `tersor.compress` take `network`, `tersor.train` takes the whole.

    Attributes:
        network: The compressed network. `network.module` is an ordinary PyTorch module.
        original: The captured model.
        training: The curve of a training, if there was one.
    """

    _has_integers: ClassVar[bool] = False

    def __repr__(self) -> str:
        left = self.cost.macs / max(1, self.original_cost.macs)
        return f"Compressed({left:.1%} of the MACs, {self.network!r})"

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

    def as_dict(self) -> dict[str, object]:
        """The same, and the summary, for JSON."""
        before, after = self.original_cost, self.cost
        return {"before": asdict(before), "after": asdict(after), **self.summary().as_dict()}

    @checked()
    def export(self, path: str | Path, opset: int = 21) -> ExportResult:
        """Write the ONNX file; see `tersor.export.onnx.export_onnx`."""
        return export_onnx(self.network, path, opset=opset)

    @checked()
    def latency(self, rounds: Count = 25) -> Latency:
        """Time its file and that of the original in onnxruntime, in turns.

        Args:
            rounds: How many times each is measured.
        """
        with tempfile.TemporaryDirectory() as folder:
            before, after = (Path(folder) / name for name in ("before.onnx", "after.onnx"))
            export_onnx(self.original, before)
            export_onnx(self.network, after)
            return measure_latency(before, after, example_tensors(self.network), rounds=rounds)

    def _runtime(self) -> tuple[RuntimeName, Config]:
        return "onnxruntime", ()

    def _subject(self) -> Subject:
        return Subject("compressed", self.network, self.original, None, "float", self.training)
