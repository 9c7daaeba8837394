"""One file of the corpus: where it comes from, how it is used, and what a right answer is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.real_files.session import Session
from benchmarks.real_files.wheels import Wheel

#: How much of an answer is right, and out of how much.
Score = tuple[float, float]


@dataclass(frozen=True)
class Entry:
    """A file, and its use in the way of its package.

    Attributes:
        name: In tables and on the command line.
        requirement: The wheel, such as `nudenet==3.4.2`.
        samples: Real inputs, always in the same order; the first ones are for calibration.
        calibrate: How many of them.
        use: Runs a sample through a session and gives the answer that its user sees.
        same: The float file's answer and another → how much of it is the same.
        metric: What `same` counts, in words.
        least: What the metric of a good quantized file reaches.
        member: The ONNX file in the wheel.
        module: Where there is none, the function of a PyTorch model, as `module:function`.
        truth: A sample and the float file's answer → how much of it is true, where that is known:
            a wrong preprocessing would show here.
        options: What the command line needs to know of this file.
        mostly_weights: Whether weights are 90 % of the file.
    """

    name: str
    requirement: str
    samples: Callable[[Wheel], Sequence[Any]]
    calibrate: int
    use: Callable[[Session, Any], Any]
    same: Callable[[Any, Any], Score]
    metric: str
    least: float
    member: str = ""
    module: str = ""
    truth: Callable[[Any, Any], Score] | None = None
    options: tuple[str, ...] = ()
    mostly_weights: bool = True

    @property
    def fixed(self) -> set[str]:
        """Names of the inputs that the options give a value."""
        pairs = pairwise(self.options)
        return {value.partition("=")[0] for option, value in pairs if option == "--fix"}

    def original(self, wheel: Wheel, folder: Path) -> Path:
        """The float file; one that PyTorch writes if the wheel has only weights.

        Args:
            wheel: The wheel.
            folder: Where PyTorch writes it.
        """
        if self.member:
            return wheel.file(self.member)
        path = folder / "float.onnx"
        model, example = load_model(self.module)
        batch = {0: torch.export.Dim("batch")}
        torch.onnx.export(
            model,
            (example,),
            path,
            dynamo=True,
            dynamic_shapes=(batch,),
            external_data=False,
            verbose=False,
        )
        return path


def load_model(module: str) -> tuple[nn.Module, Tensor]:
    """The PyTorch model that `module:function` returns, and an example."""
    name, _, function = module.partition(":")
    return getattr(import_module(name), function)()


def total(scores: Sequence[Score]) -> float:
    """The share that is right of all scores together."""
    right, of = (sum(column) for column in zip(*scores, strict=True))
    return right / max(of, 1e-12)
