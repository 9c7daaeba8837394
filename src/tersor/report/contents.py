"""What a report holds: plain data that becomes JSON, and that every page and plot is made of."""

from dataclasses import dataclass
from typing import Literal

from tersor.graph.costs import Cost
from tersor.quant.sensitivity import Sensitivity
from tersor.report.summary import Refusal, Step
from tersor.training.log import Line


@dataclass(frozen=True)
class Made:
    """How a model was made, so that it can be made again.

    Attributes:
        command: The command, where it was one.
        target: Format of the integers; empty where there are none.
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
    """What was measured in the runtime, on one set of samples.

    Attributes:
        runtime: The runtime.
        samples: How many.
        float_bytes: Cost of the float file.
        bytes: Cost of the file.
        float_ms: Milliseconds for one sample in float, or None if nothing was timed.
        ms: Milliseconds for one sample.
        top1: Share of samples with the class of the float model, in the runtime, if it has classes.
        sqnr: The file in the runtime against the float model, dB, of the worst output.
        exactness: The file in the runtime against the simulation, dB, of the worst output.
        accuracy: Share of labels found by `float` and `runtime`; empty without labels.
        layers: Convolutions and linear layers of the file.
        in_float: Those that the runtime computes in float, and why.
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


@dataclass(frozen=True)
class GridHistogram:
    """How often values occur, and the grid they are rounded to.

    Attributes:
        start: Left edge of the first bin.
        width: Width of a bin.
        shares: Share of the values in each bin.
        low: Smallest value of the grid.
        high: Largest value of the grid.
        levels: How many values the grid has.
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
        reads: Bits of what it reads, or None in float.
        low: Smallest weight.
        high: Largest weight.
        sqnr: Output, behind the activation, against the float network, everything before it
            quantized, too.
        own: The same with this layer alone quantized.
        stored: The weights against those of the float network.
        objective: Error that rounding minimised, before and after.
        before: Largest |W| of its output channels, sorted, as the model came.
        after: The same once channels are equalized; at most 48 of each, evenly chosen.
        weights: The weights in steps of their channel, for the layers of least SQNR.
        inputs: What it reads, idem.
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
    """What compression left of a layer.

    Attributes:
        name: Its name in the original.
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
    """A line in the picture of a network: a layer or a joint, and what follows it alone.

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
        sqnr: Of the outputs against those of the model, in dB.
        score: Accuracy, or whatever else was measured, or None.
        latency: Time in onnxruntime, or None.
    """

    macs: float
    sqnr: float
    score: float | None
    latency: float | None


@dataclass(frozen=True, repr=False)
class Report:
    """All that is known of a model that was made smaller: see it with `save`, or `tersor.compare`.

    Attributes:
        title: What it is a report of.
        kind: Whether the model was quantized or compressed.
        made: How to make it again.
        verified: What the runtime says, if it was asked.
        before: The cost of the original.
        after: The cost of the result.
        layers: One entry per call of a layer, in order.
        left: What compression left of each layer; empty if it was quantized.
        cells: The picture of the network.
        steps: What every step did.
        refusals: What could not be done, and why.
        sensitivity: Damage to the outputs by bits of a layer, if it was measured.
        training: The curve of a training, if there was one.
        curve: The network at several budgets, as `tersor.api.pareto` measures it.
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
