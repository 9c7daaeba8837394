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

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tersor.data.feeds import Arrays, Data, Labels, as_array, batches, split_labels
from tersor.data.memory import trim
from tersor.data.output_parts import Part, find_parts
from tersor.data.outputs import Metric
from tersor.errors import InvalidInputError
from tersor.export import misfits, odd_values
from tersor.export.accuracy import accuracy
from tersor.export.beyond import Beyond
from tersor.export.closely import closely
from tersor.export.float_file import FloatFile
from tersor.export.latency import measure_latency
from tersor.export.runtime import Config, Runtime, at_once
from tersor.export.seal import changes
from tersor.export.serving import Serving, serving
from tersor.export.tally import Comparison, Tally, may_have_classes
from tersor.export.verification import Verification
from tersor.frontend.capture import capture
from tersor.frontend.load import load
from tersor.frontend.onnx.stored import size
from tersor.graph.network import Network
from tersor.names import RuntimeName

STEPS = ("export the float model", "compare outputs", "time both files", "look up kernels")
_CHUNK = 32  # samples at a time
_SURE = 0.03  # of the ratio of the times
_PAIRS = (
    ("simulation", "exact"),
    ("simulation", "runtime"),
    ("exact", "runtime"),
    ("float", "runtime"),
    ("float", "simulation"),
    ("float", "exact"),
    ("float", "first"),  # the runtime, on the samples that all models run
    ("float", "compressed"),
)


def verify(
    reference: Network | FloatFile | str | Path,
    simulation: Network | None,
    path: str | Path,
    inputs: Data,
    *,
    labels: Labels | None = None,
    config: Config = (),
    runtime: RuntimeName = "onnxruntime",
    latency: bool = True,
    metric: Metric | None = None,
    max_metric: float | None = None,
    compressed: Network | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Verification:
    """Run the float model, the simulation and the exported file on the same data, and compare them.

    Args:
        reference: The float network, its ONNX file, or one that is written once for several calls.
        simulation: The quantized network that was exported; None if only the file exists.
        path: The exported file.
        inputs: One batch, or an iterable of batches; see `tersor.data.feeds.batches`. A batch that
            is a list or tuple may have its labels after the inputs, as a `DataLoader` yields them.
        labels: Class of each sample, in the order of the inputs.
        config: Session options that users of the file set.
        runtime: The runtime in which users run an ONNX file: `"onnxruntime"` or `"openvino"`. A
            `.pte` file runs in ExecuTorch, a `.pt2` file in PyTorch.
        latency: Whether to time the two files.
        metric: The user's own metric, `metric(outputs, reference)`; higher is worse. It takes the
            tensor that the file and the float model return, or a tuple if there are several, for up
            to 32 samples at a time; the mean over all samples is taken.
        max_metric: The largest value of the metric that is good.
        compressed: What was quantized, if the float model was compressed first.
        on_step: Called with the name of each of `STEPS` before it runs.

    Returns:
        The measurements.

    Raises:
        InvalidInputError: Inputs, labels or files do not fit each other; the message names both.
    """
    if max_metric is not None and metric is None:
        raise InvalidInputError(
            f"max_metric={max_metric:g} has no effect without a metric; give metric=, too"
        )
    say, path = on_step or (lambda _: None), Path(path)
    served = serving(runtime, path)
    say(STEPS[0])
    floating = _Floating(reference, served)
    loaded = served.load(path, config=config)
    before = floating.like(served, loaded)
    say(STEPS[1])
    networks = {"simulation": simulation, "compressed": compressed}
    contest = _Contest(served, loaded, floating.path, networks, metric, labels is not None)
    for batch in batches(inputs):
        contest.add(batch)
    contest.close()
    del loaded
    say(STEPS[2])
    timed = None
    if latency:
        timed = measure_latency(
            before, path, contest.first, config=config, enough=_SURE, load=served.load
        )
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
        accuracy=contest.accuracy(labels),
        bytes=size(path) if served.is_onnx else path.stat().st_size,
        float_bytes=size(before) if served.is_onnx else before.stat().st_size,
        latency=timed,
        kernels=tuple(served.kernels(path, config)),
        runtime_name=served.name,
        drawbacks=tuple(served.drawbacks(before, path, timed, config)),
        doubts=tuple(contest.doubts()),
        metric=contest.metric,
        max_metric=max_metric,
        changes=tuple(changes(path) or ()) if served.is_onnx else (),
        uncompared=contest.uncompared,
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


class _Contest:
    """All models over the same data, batch by batch."""

    def __init__(
        self,
        served: Serving,
        runtime: Runtime,
        float_path: Path,
        networks: Mapping[str, Network | None],
        metric: Metric | None = None,
        labelled: bool = False,
    ) -> None:
        files = {"runtime": runtime, "float": Runtime(float_path)}
        if served.exact is not None:
            files["exact"] = served.exact(runtime.path, optimize=False)
        self.files = files
        simulate = odd_values.simulated
        self._networks = {k: simulate(x) for k, x in networks.items() if x is not None}
        self.outputs = files["runtime"].compared
        self.samples = 0
        self.closely = 0  # samples that all models ran
        self._metric, self._labelled = metric, labelled
        self._close, self._damage = closely(networks.get("simulation")), 0.0
        self.beyond = Beyond(runtime.path) if served.is_onnx else None
        self.first: Arrays = {}
        self.tallies: dict[tuple[str, str], list[Tally]] = {}
        self.parts: list[tuple[Part, ...]] = []
        self.no_numbers: Counter[tuple[str, str]] = Counter()  # file and output → samples
        self.predictions: dict[str, list[np.ndarray]] = {}
        self.labels: list[np.ndarray] = []
        self.classes = 0
        self._names = files["runtime"].outputs
        self.uncompared = tuple(name for name in self._names if name not in self.outputs)
        misfits.check_outputs(files["float"], files["runtime"])

    def add(self, batch: Any) -> None:
        runtime = self.files["runtime"]
        batch, labels = split_labels(batch, len(runtime.inputs))
        feed = runtime.feed(batch)
        misfits.check_numbers(feed)
        self.first = self.first or feed
        if self.beyond is not None:
            self.beyond.add(feed)
        if labels is not None:
            self.labels.append(labels)
        for part in runtime.split(feed, _CHUNK if self._metric else at_once(feed, _CHUNK)):
            count = len(next(iter(part.values())))
            is_close = self.closely < self._close
            results = self._run(part, is_close)
            self.samples += count
            self.closely += count if is_close else 0
            self._compare(results, {"first": results["runtime"]} if is_close else {})
            if self._metric is not None:
                both = _structure(results["runtime"]), _structure(results["float"])
                self._damage += count * float(self._metric(*both))

    def close(self) -> None:
        """Forget the models: those that are timed are loaded for themselves."""
        self.files.clear()
        self._networks.clear()
        trim()

    def doubts(self) -> list[str]:
        """Why the figures are doubtful: unusual inputs, NaN, or a file that is another one."""
        found = [] if self.beyond is None else self.beyond.doubts()
        found += odd_values.told(self._names, self.outputs)
        pairs = (("simulation", "exact"), ("float", "simulation"), ("float", "exact"))
        others = misfits.other_than_simulated(*(self.comparisons(*pair) for pair in pairs))
        return [*found, *misfits.without_numbers(self.no_numbers), *others]

    @property
    def metric(self) -> float | None:
        """The mean of the user's own metric over all samples; None without one."""
        return None if self._metric is None else self._damage / max(1, self.samples)

    def _run(self, feed: Arrays, is_close: bool) -> dict[str, list[np.ndarray]]:
        results = {
            name: file.numbers(file.renamed(feed))
            for name, file in self.files.items()
            if is_close or name != "exact"
        }
        if is_close:
            results |= {name: run(feed) for name, run in self._networks.items()}
        return results

    def _compare(
        self, results: dict[str, list[np.ndarray]], more: dict[str, list[np.ndarray]]
    ) -> None:
        found = results | more
        for first, second in ((a, b) for a, b in _PAIRS if a in found and b in found):
            if (first, second) not in self.tallies:
                self.tallies[first, second] = self._new_tallies(results)
            tallies = self.tallies[first, second]
            for tally, a, b in zip(tallies, found[first], found[second], strict=True):
                tally.add(a, b)
        for name, outputs in results.items():
            for output, values in zip(self.outputs, outputs, strict=False):
                self.no_numbers[name, output] += misfits.samples_without_numbers(values)
            scores = next((output for output in outputs if may_have_classes(output)), None)
            if scores is not None:
                self.classes = scores.shape[1]
                self.predictions.setdefault(name, []).append(scores.argmax(1))

    def _new_tallies(self, results: dict[str, list[np.ndarray]]) -> list[Tally]:
        """One for each output, whose parts are those that the float model shows first."""
        if not self.parts:
            outputs = zip(self.outputs, results["float"], strict=True)
            labelled = self._labelled or bool(self.labels)
            self.parts = [find_parts(name, torch.from_numpy(x), labelled) for name, x in outputs]
        return [Tally(parts) for parts in self.parts]

    def comparisons(self, first: str, second: str) -> dict[str, Comparison]:
        """Output name → comparison; empty if one of the two was not run."""
        tallies = self.tallies.get((first, second), [])
        return {name: t.comparison() for name, t in zip(self.outputs, tallies, strict=False)}

    def accuracy(self, labels: Labels | None) -> dict[str, float]:
        """Share of correct predictions by model; empty without labels."""
        given = self.labels if labels is None else [as_array(labels)]
        ran_all = self.predictions if self.closely == self.samples else ("float", "runtime")
        found = {name: x for name, x in self.predictions.items() if name in ran_all}
        return accuracy(given, found, self.classes)


def _structure(outputs: list[np.ndarray]) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """One output as a tensor, several as a tuple, as PyTorch models return them."""
    found = tuple(map(torch.from_numpy, outputs))
    return found[0] if len(found) == 1 else found
