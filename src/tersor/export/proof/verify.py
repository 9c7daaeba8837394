"""Verification: does the file compute, in the real runtime, what the simulation computed?

    simulation   the quantized network in PyTorch
    exact        the file, every node as it is, without integer kernels
    runtime      the file as users run it
    float        the float network in onnxruntime
    compressed   the compressed network in float, if it was compressed before it was quantized

Of many samples the first (`closely.py`) run in all of them, the others in `runtime` and `float`.
Comparing `exact` with `simulation` shows whether the file is right, `runtime` with `simulation`
whether the kernels are right, and `runtime` with `float` what quantization costs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tersor.data.given.feeds import Data, Labels, batches
from tersor.data.outputs.outputs import Metric
from tersor.data.runs.memory import trim
from tersor.errors import InvalidInputError
from tersor.export.evidence.seal import changes
from tersor.export.float_file import FloatFile
from tersor.export.proof.contest import Contest
from tersor.export.proof.exact.comparison import FirstSamples, check_is_followed, prove, simulated
from tersor.export.proof.verification import Verification
from tersor.export.serving import Serving, serving
from tersor.export.sessions.latency import CALM, calm, compare_latency
from tersor.export.sessions.runtime import Config, Runtime
from tersor.frontend.capture import capture
from tersor.frontend.load import load
from tersor.frontend.onnx.stored import size
from tersor.graph.network import Network
from tersor.names import RuntimeName

STEPS = ("export the float model", "compare outputs", "time both files", "look up kernels")
_SURE = 0.03  # of the ratio of the times


@dataclass(frozen=True)
class Options:
    """How a file is verified.

    Attributes:
        labels: Class of each sample, in the order of the inputs.
        config: Session options that users of the file set.
        runtime: The runtime in which users run an ONNX file: `"onnxruntime"` or `"openvino"`. A
            `.pte` file runs in ExecuTorch, a `.pt2` file in PyTorch.
        latency: Whether to time the two files.
        metric: The user's own metric, `metric(outputs, reference)`; higher is worse. It takes the
            tensor that the file and the float model return, or a tuple if there are several, for up
            to 32 samples at a time; the mean over all samples is taken.
        max_metric: The largest value of the metric that is good.
        exact: Whether to compare the runtime with the exact simulation of its kernels, too.
    """

    labels: Labels | None = None
    config: Config = ()
    runtime: RuntimeName = "onnxruntime"
    latency: bool = True
    metric: Metric | None = None
    max_metric: float | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        if self.max_metric is not None and self.metric is None:
            raise InvalidInputError(
                f"max_metric={self.max_metric:g} has no effect without a metric; give metric=, too"
            )


_USUAL = Options()


def verify(
    reference: Network | FloatFile | str | Path,
    simulation: Network | None,
    path: str | Path,
    inputs: Data,
    options: Options = _USUAL,
    *,
    compressed: Network | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Verification:
    """Run the float model, the simulation and the exported file on the same data, and compare them.

    Args:
        reference: The float network, its ONNX file, or one that is written once for several calls.
        simulation: The quantized network that was exported; None if only the file exists.
        path: The exported file.
        inputs: One batch, or an iterable of batches; see `tersor.data.given.feeds.batches`. A batch
            that is a list or tuple may have its labels after the inputs, as a `DataLoader` yields
            them.
        options: How it is verified.
        compressed: What was quantized, if the float model was compressed first.
        on_step: Called with the name of each of `STEPS` before it runs.

    Returns:
        The measurements.

    Raises:
        InvalidInputError: Inputs, labels or files do not fit each other; the message names both.
            Or the exact simulation is wanted where the kernels are not known.
    """
    say, path = on_step or (lambda _: None), Path(path)
    served, config = serving(options.runtime, path), options.config
    given = FirstSamples(inputs) if options.exact else None
    if options.exact:
        check_is_followed(path, served.name, simulation)
    say(STEPS[0])
    floating = _Floating(reference, served)
    loaded = served.load(path, config=calm(config))
    before = floating.like(served, loaded)
    say(STEPS[1])
    networks = {"simulation": simulation, "compressed": compressed}
    is_labelled = options.labels is not None
    floats = Runtime(floating.path, config=CALM)
    trim()  # what loading a file takes is much more than what stays
    contest = Contest(served, loaded, floats, networks, options.metric, is_labelled)
    for batch in batches(given or inputs):
        contest.add(batch)
    contest.close()
    say(STEPS[2])
    timed = None
    if options.latency:
        floats = floats if served.load is Runtime else served.load(before, config=CALM)
        timed = compare_latency(floats, loaded, contest.first, enough=_SURE)
    del loaded, floats
    say(STEPS[3])
    compared = "simulation" if simulation else "exact"
    return Verification(
        samples=contest.samples,
        closely=contest.closely,
        first=contest.comparisons("float", "first"),
        exported=contest.comparisons("simulation", "exact"),
        runtime=contest.comparisons(compared, "runtime"),
        quantized=contest.comparisons("float", "runtime"),
        simulated=contest.comparisons("float", "simulation"),
        compressed=contest.comparisons("float", "compressed"),
        accuracy=contest.accuracy(options.labels),
        bytes=size(path) if served.is_onnx else path.stat().st_size,
        float_bytes=size(before) if served.is_onnx else before.stat().st_size,
        latency=timed,
        kernels=tuple(served.kernels(path, config)),
        runtime_name=served.name,
        drawbacks=tuple(served.drawbacks(before, path, timed, config)),
        doubts=tuple(contest.doubts()),
        metric=contest.metric,
        max_metric=options.max_metric,
        changes=tuple(changes(path) or ()) if served.is_onnx else (),
        uncompared=contest.uncompared,
        arithmetic=given and prove(simulated(path, served.name, simulation, config), given.batches),
    )


class _Floating:
    """The files of the float model, which live as long as this object if they are written for it.

    Attributes:
        path: The ONNX file.
    """

    def __init__(self, reference: Network | FloatFile | str | Path, served: Serving) -> None:
        if isinstance(reference, Network):
            reference = FloatFile(reference)
        is_file = isinstance(reference, FloatFile)
        self.path = reference.path() if is_file else Path(reference)
        if not is_file and not served.is_onnx:
            reference = FloatFile(capture(load(reference)[0]))
        self._files = reference

    def like(self, served: Serving, loaded: Runtime) -> Path:
        """The file to time and to weigh: of the same format as the file that is verified."""
        if isinstance(self._files, FloatFile):
            return served.floating(self._files, loaded)
        return self.path
