"""One architecture from end to end: quantize, export, and run the file in onnxruntime."""

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from benchmarks.breadth.candidate import Candidate, Inputs, run
from benchmarks.breadth.randomize import randomize
from tersor.api.quantize import quantize
from tersor.errors import InvalidInputError
from tersor.export.kernels import kernels
from tersor.export.proof.tally import Tally
from tersor.export.sessions.runtime import Runtime
from tersor.results.quantized import Quantized

EXACT = {"session.x64quantprecision": "1"}
_SAMPLES = 8
_SEED = 0


@dataclass
class Figures:
    """What was measured, filled in step by step.

    Attributes:
        parameters: Number of parameters.
        stage: The last step that was begun; `"done"` at the end.
        reason: Why it ended early; empty otherwise.
        sqnr: Simulation against the file as users run it, in dB; the worst output.
        median: The same sample by sample, and the median of them. In a random network one value
            that is rounded to the other neighbour can change all of one sample's output, which
            then is all of the noise.
        sqnr_exact: The same with `session.x64quantprecision=1`, or without optimizations where
            onnxruntime does not load the file with this option.
        ceiling: The simulation against itself in float64, in dB; None if that does not run.
        sqnr_float: The float network against the simulation, in dB.
        spread: Standard deviation of the outputs over the samples, relative to their size: near
            zero, the figures above would mean nothing.
        layers: Convolution and linear layers in the file.
        integer: Those that run as integer kernels.
        in_float: Reason why a layer stays in float → number of layers.
        seconds: CPU time of everything.
    """

    parameters: int = 0
    stage: str = "build"
    reason: str = ""
    sqnr: float | None = None
    median: float | None = None
    sqnr_exact: float | None = None
    ceiling: float | None = None
    sqnr_float: float | None = None
    spread: float | None = None
    layers: int = 0
    integer: int = 0
    in_float: dict[str, int] | None = None
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)


def measure(build: Any, figures: Figures, threads: int) -> None:
    """Take one architecture through everything; `figures` tells how far it came.

    Args:
        build: Makes the `Candidate`.
        figures: Filled in.
        threads: Threads of PyTorch and onnxruntime.

    Raises:
        Exception: Whatever stopped it.
    """
    start = time.process_time()
    torch.set_num_threads(threads)
    torch.manual_seed(_SEED)
    generator = torch.Generator().manual_seed(_SEED)
    candidate: Candidate = build()
    figures.parameters = sum(p.numel() for p in candidate.model.parameters())
    randomize(candidate, generator)
    example = candidate.inputs(2, generator)

    def on_step(name: str) -> None:
        figures.stage = name

    quantized = quantize(candidate.model, example, on_step=on_step)
    figures.stage = "export"
    with tempfile.TemporaryDirectory() as folder:
        path = quantized.export(Path(folder) / "quantized.onnx").path
        figures.stage = "run"
        _compare(quantized, path, candidate.inputs(_SAMPLES, generator), figures, threads)
        _count_kernels(path, figures)
    figures.stage, figures.seconds = "done", time.process_time() - start


def _compare(
    quantized: Quantized, path: Path, inputs: Inputs, figures: Figures, threads: int
) -> None:
    with torch.no_grad():
        floating = _arrays(run(quantized.original.module, inputs))
        simulated = _arrays(run(quantized.network.module, inputs))
    feed = tuple(inputs.values()) if isinstance(inputs, dict) else inputs
    runtime = list(Runtime(path, threads=threads)(feed).values())
    figures.sqnr = sqnr(simulated, runtime)
    figures.sqnr_exact = _with_exact_kernels(path, feed, simulated, threads)
    figures.median = _median(simulated, runtime)
    figures.sqnr_float = sqnr(floating, simulated)
    figures.spread = min(_spread(output) for output in simulated)
    figures.ceiling = _ceiling(quantized, inputs, simulated)


def _with_exact_kernels(
    path: Path, feed: tuple[Tensor, ...], simulated: list[np.ndarray], threads: int
) -> float:
    """The same on kernels that do not saturate, or node by node in float if the file does not load.

    With this option, onnxruntime 1.32 stops at weights that several layers share.
    """
    try:
        runtime = Runtime(path, config=EXACT, threads=threads)
    except InvalidInputError:
        runtime = Runtime(path, optimize=False, threads=threads)
    return sqnr(simulated, list(runtime(feed).values()))


def _ceiling(quantized: Quantized, inputs: Inputs, simulated: list[np.ndarray]) -> float | None:
    """What no runtime can exceed; None if the model is written for float32 alone."""
    in_double = quantized.network.copy().module.double()
    try:
        with torch.no_grad():
            return sqnr(simulated, _arrays(run(in_double, pytree.tree_map(_double, inputs))))
    except RuntimeError:
        return None


def _double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def _arrays(output: Any) -> list[np.ndarray]:
    tensors = (leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor))
    return [leaf.float().numpy() for leaf in tensors]


def sqnr(wanted: list[np.ndarray], given: list[np.ndarray]) -> float:
    """Signal-to-noise ratio in dB of the worst output.

    Raises:
        ArithmeticError: An output holds NaN or infinite values where it should not.
    """
    worst = 200.0
    for want, got in zip(wanted, given, strict=True):
        finite = np.isfinite(want)
        if not np.isfinite(got[finite]).all() or (want[~finite] != got[~finite]).any():
            raise ArithmeticError("an output holds NaN or infinite values")
        tally = Tally()
        tally.add(want[finite], got[finite].astype(np.float32))
        worst = min(worst, tally.comparison().sqnr)
    return worst


def _median(wanted: list[np.ndarray], given: list[np.ndarray]) -> float:
    """The median over samples of the SQNR in dB of the worst output."""

    def sample(outputs: list[np.ndarray], i: int) -> list[np.ndarray]:
        return [output[i : i + 1] for output in outputs]

    return median(sqnr(sample(wanted, i), sample(given, i)) for i in range(_SAMPLES))


def _spread(output: np.ndarray) -> float:
    finite = np.where(np.isfinite(output), output, 0).astype(np.float64)
    return float(finite.std(0).mean() / max(np.sqrt((finite**2).mean()), 1e-30))


def _count_kernels(path: Path, figures: Figures) -> None:
    figures.stage = "count integer kernels"
    found = kernels(path)
    figures.layers, figures.integer = len(found), sum(kernel.is_integer for kernel in found)
    figures.in_float = {}
    for kernel in found:
        if not kernel.is_integer:
            figures.in_float[kernel.reason] = figures.in_float.get(kernel.reason, 0) + 1
