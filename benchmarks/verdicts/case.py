"""One result of known quality."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tersor
from tersor.data.given.feeds import Data
from tersor.data.outputs.verdict import Grade
from tersor.export.onnx.writer import export_onnx
from tersor.export.proof.verification import Verification
from tersor.frontend.capture import capture

#: Points that a good file may lose, and that a file may lose that is not ruined.
_GOOD, _POOR = 1.0, 5.0
Make = Callable[[], tersor.Quantized]


@dataclass(frozen=True)
class Case:
    """A file, what it is worth, and what is measured of it without labels.

    Attributes:
        name: The network.
        way: How it was quantized.
        truth: What the file is worth.
        why: The figure that says so.
        proof: What the verdict is made of.
    """

    name: str
    way: str
    truth: Grade
    why: str
    proof: Verification

    @property
    def verdict(self) -> Grade:
        """What Tersor says."""
        return self.proof.verdict.grade

    @property
    def is_right(self) -> bool:
        """Whether the verdict is the truth."""
        return self.verdict == self.truth


def graded(lost: float) -> Grade:
    """What a file is worth that loses so many points."""
    if lost <= _GOOD:
        return "good"
    return "look" if lost <= _POOR else "bad"


def cases(
    name: str,
    model: tuple[object, object],
    ways: dict[str, dict[str, object]],
    inputs: Data,
    points: Callable[[Path, tuple[tuple[str, str], ...]], float],
    folder: Path,
) -> Iterator[Case]:
    """Quantize a network in several ways, and measure each.

    Args:
        name: The network.
        model: It and its example.
        ways: Way → the arguments of `quantize`.
        inputs: What the verdict sees.
        points: What a file gets right, in percent.
        folder: Where files are written.
    """
    floating, path = folder / f"{name}.onnx", folder / f"{name}.int8.onnx"
    export_onnx(capture(*model), floating)
    before = points(floating, ())
    for way, options in ways.items():
        quantized = tersor.quantize(*model, **options)
        quantized.export(path)
        lost = before - points(path, quantized.scheme.session)
        proof = tersor.verify(floating, path, inputs, latency=False)
        yield Case(name, way, graded(lost), f"loses {lost:.1f} of {before:.1f}", proof)
