"""The contents of a report: plain data for JSON, from which every page and plot is made."""

from dataclasses import dataclass
from typing import Literal

from tersor.data.outputs.verdict import Verdict
from tersor.graph.costs import Cost
from tersor.quant.sensitivity import Sensitivity
from tersor.report.summary import Refusal, Step
from tersor.training.log import Line


@dataclass(frozen=True)
class Made:
    """How a model was produced, so that it can be reproduced.

    Attributes:
        command: The command, if it was one.
        target: Format of the integers; empty if there are none.
        versions: Package → version.
        machine: One line about the CPU and its kernels.
        date: Day and time, UTC.
    """

    command: str | None
    target: str
    versions: dict[str, str]
    machine: str
    date: str


@dataclass(frozen=True)
class Verified:
    """The measurements in the runtime, on one set of samples.

    Attributes:
        runtime: The runtime.
        samples: Number of samples.
        float_bytes: Cost of the float file.
        bytes: Cost of the file.
        float_ms: Milliseconds for one sample in float, or None if nothing was timed.
        ms: Milliseconds for one sample.
        top1: Share of samples with the same class as the float model, if the model has classes.
        sqnr: The file in the runtime against the float model, in dB, for the worst output.
        exactness: The file in the runtime against the simulation, in dB, for the worst output.
        accuracy: Share of correct labels, by `float` and `runtime`; empty without labels.
        layers: Number of convolutions and linear layers in the file.
        in_float: The layers that the runtime computes in float, and why.
        verdict: Whether the file can be used; None in reports of older versions.
    """

    runtime: str
    samples: int
    float_bytes: int
    bytes: int
    float_ms: float | None
    ms: float | None
    top1: float | None
    sqnr: float
    exactness: float
    accuracy: dict[str, float]
    layers: int
    in_float: dict[str, str]
    verdict: Verdict | None = None


@dataclass(frozen=True)
class GridHistogram:
    """A histogram of values, and the grid that they are rounded to.

    Attributes:
        start: Left edge of the first bin.
        width: Width of a bin.
        shares: Share of the values in each bin.
        low: Smallest value of the grid.
        high: Largest value of the grid.
        levels: Number of values of the grid.
    """

    start: float
    width: float
    shares: tuple[float, ...]
    low: float
    high: float
    levels: int


@dataclass(frozen=True)
class Note:
    """What a step did to a layer, or why it refused.

    Attributes:
        step: The step.
        text: One sentence.
        done: False if it refused.
    """

    step: str
    text: str
    done: bool


@dataclass(frozen=True)
class LayerReport:
    """One call of a weighted layer. SQNR is in dB, None where it could not be measured.

    Attributes:
        name: The user's name.
        kind: `"conv"`, `"depthwise"`, `"transposed conv"` or `"linear"`.
        weight: Shape of the weight.
        output: Shape of the output of one sample.
        macs: Multiply-accumulates for one sample.
        parameters: Stored numbers.
        bits: Bits of the weights, or None in float.
        reads: Bits of its input, or None in float.
        low: Smallest weight.
        high: Largest weight.
        sqnr: Output, after the activation, against the float network, with everything before it
            quantized, too.
        own: The same with only this layer quantized.
        stored: The weights against those of the float network.
        objective: The error that rounding minimized, before and after.
        before: Largest |W| of its output channels, sorted, in the original model.
        after: The same after equalization; at most 48 of each, evenly chosen.
        weights: The weights in steps of their channel, for the layers of least SQNR.
        inputs: The inputs of the layer, for the same layers.
        notes: What was done to it.
    """

    name: str
    kind: str
    weight: tuple[int, ...]
    output: tuple[int, ...]
    macs: int
    parameters: int
    bits: int | None
    reads: int | None
    low: float
    high: float
    sqnr: float | None = None
    own: float | None = None
    stored: float | None = None
    objective: tuple[float, float] | None = None
    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()
    weights: GridHistogram | None = None
    inputs: GridHistogram | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class LayerCosts:
    """A layer before and after compression.

    Attributes:
        name: Name of the layer in the original.
        before: Its cost.
        after: The cost of what it has become.
    """

    name: str
    before: Cost
    after: Cost


@dataclass(frozen=True)
class Link:
    """A value that a cell reads.

    Attributes:
        source: Position of the cell that made it.
        bits: Its bits, or None in float.
    """

    source: int
    bits: int | None


@dataclass(frozen=True)
class Cell:
    """A line in the picture of a network: a layer or a joint, and the ops that follow only it.

    Attributes:
        name: Name of the layer, of the input, or of the value.
        ops: What is computed, in order.
        shape: Shape of the result for one sample.
        inputs: What it reads.
        is_layer: Whether it is a layer, with a row of its own.
    """

    name: str
    ops: tuple[str, ...]
    shape: tuple[int, ...]
    inputs: tuple[Link, ...]
    is_layer: bool


@dataclass(frozen=True)
class Budget:
    """The network at one budget of multiplications, as shares of the model.

    Attributes:
        macs: Multiplications that are left.
        sqnr: SQNR of the outputs against those of the model, in dB.
        score: Accuracy, or whatever else was measured, or None.
        latency: Time in onnxruntime, or None.
    """

    macs: float
    sqnr: float
    score: float | None
    latency: float | None


@dataclass(frozen=True, repr=False)
class Report:
    """Everything about a quantized or compressed model, for `save` and `tersor.compare`.

    Attributes:
        title: The subject of the report.
        kind: Whether the model was quantized or compressed.
        made: How to reproduce it.
        verified: The measurements in the runtime, if there are any.
        before: The cost of the original.
        after: The cost of the result.
        layers: One entry per call of a layer, in order.
        left: What compression left of each layer; empty if it was quantized.
        cells: The picture of the network.
        steps: What every step did.
        refusals: What could not be done, and why.
        sensitivity: Damage to the outputs by bits of a layer, if it was measured.
        training: The training curve, if the model was trained.
        curve: The network at several budgets, as `tersor.pareto` measures it.
    """

    title: str
    kind: Literal["quantized", "compressed"]
    made: Made
    verified: Verified | None
    before: Cost
    after: Cost
    layers: tuple[LayerReport, ...]
    left: tuple[LayerCosts, ...]
    cells: tuple[Cell, ...]
    steps: tuple[Step, ...]
    refusals: tuple[Refusal, ...]
    sensitivity: tuple[Sensitivity, ...] = ()
    training: tuple[Line, ...] = ()
    curve: tuple[Budget, ...] = ()

    def __repr__(self) -> str:
        return f"Report({self.title!r}, {len(self.layers)} layers)"
