"""All models of a verification over the same data, batch by batch, and what their outputs say."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tersor.data.given.feeds import Arrays, Labels, as_array, split_labels
from tersor.data.outputs.output_parts import ROWS, Part, find_parts
from tersor.data.outputs.outputs import Metric
from tersor.data.runs.memory import trim
from tersor.export.proof import misfits
from tersor.export.proof.accuracy import accuracy
from tersor.export.proof.beyond import Beyond
from tersor.export.proof.closely import closely
from tersor.export.proof.tally import Comparison, Tally, may_have_classes
from tersor.export.serving import Serving
from tersor.export.sessions import odd_values
from tersor.export.sessions.runtime import Runtime, at_once
from tersor.graph.network import Network

_Run = Callable[[Arrays], list[np.ndarray]]
_CHUNK = 32  # samples at a time
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


class _OnFew:
    """What only the first samples run in: a model is loaded when it runs, and stays if it must."""

    def __init__(self, served: Serving, path: Path, networks: Mapping[str, Network | None]) -> None:
        self._make: dict[str, Callable[[bool], _Run]] = {}
        if served.exact is not None:
            self._make["exact"] = partial(_unoptimized, served.exact, path)
        for name, network in networks.items():
            if network is not None:
                self._make[name] = partial(odd_values.simulated, network)
        self._loaded: dict[str, _Run] = {}

    def __call__(self, feed: Arrays, is_last: bool) -> dict[str, list[np.ndarray]]:
        """The outputs of each; no further samples follow the last ones."""
        results = {}
        for name in self._make:
            results[name] = self._run(name, feed, is_last)
            if is_last:
                trim()
        return results

    def _run(self, name: str, feed: Arrays, is_last: bool) -> list[np.ndarray]:
        run = self._loaded.pop(name, None) or self._make[name](not is_last)
        if not is_last:
            self._loaded[name] = run
        return run(feed)

    def forget(self) -> None:
        """Give back what the models hold."""
        self._loaded.clear()
        trim()


class Contest:
    """All models over the same data, batch by batch.

    Attributes:
        samples: How many samples the file and the float model have run.
        closely: How many of them all models have run.
        first: The first batch.
        outputs: Names of the outputs that are compared.
        uncompared: Names of those that are not.
    """

    def __init__(
        self,
        served: Serving,
        runtime: Runtime,
        floating: Runtime,
        networks: Mapping[str, Network | None],
        metric: Metric | None = None,
        labelled: bool = False,
    ) -> None:
        """Begin with no sample.

        Args:
            served: What runs the file.
            runtime: The file as users run it.
            floating: The float model, loaded by onnxruntime.
            networks: What runs in PyTorch, by name; `"simulation"` is what the file computes.
            metric: The user's own metric.
            labelled: Whether the classes of the samples are known.
        """
        self.files = {"runtime": runtime, "float": floating}
        self._on_few = _OnFew(served, runtime.path, networks)
        self.outputs, self.samples, self.closely = runtime.compared, 0, 0
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
        self._names = runtime.outputs
        self.uncompared = tuple(name for name in self._names if name not in self.outputs)
        misfits.check_outputs(self.files["float"], runtime)

    def add(self, batch: Any) -> None:
        """Run one batch in the models.

        Args:
            batch: Inputs, perhaps with labels behind them.
        """
        runtime = self.files["runtime"]
        batch, labels = split_labels(batch, len(runtime.inputs))
        feed = runtime.feed(batch)
        misfits.check_numbers(feed)
        self.first = self.first or feed
        if self.beyond is not None:
            self.beyond.add(feed)
        if labels is not None:
            self.labels.append(labels)
        for part in runtime.split(feed, *self._sizes(feed)):
            count = len(next(iter(part.values())))
            is_close = self.closely < self._close
            self.samples += count
            self.closely += count if is_close else 0
            results = self._run(part, is_close)
            self._compare(results, {"first": results["runtime"]} if is_close else {})
            if self._metric is not None:
                both = _structure(results["runtime"]), _structure(results["float"])
                self._damage += count * float(self._metric(*both))

    def _sizes(self, feed: Arrays) -> tuple[int, int]:
        """How many samples run at a time, and how many at first: no more than all models run.

        Those that tell what an output is stay together, and so do those of the user's own metric.
        """
        most, left = at_once(feed, _CHUNK), self._close - self.closely
        if self._metric is not None or left <= 0:
            return _CHUNK if self._metric else most, 0
        return most, min(most, left if most < ROWS else max(left, ROWS))

    def close(self) -> None:
        """Forget the models."""
        self.files.clear()
        self._on_few.forget()

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
        results = {name: file.numbers(file.renamed(feed)) for name, file in self.files.items()}
        if is_close:
            results |= self._on_few(feed, is_last=self.closely >= self._close)
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
        """Output name → comparison; empty if one of the two was not run.

        Args:
            first: The reference: `"float"`, `"simulation"`, `"exact"`.
            second: What is compared with it.
        """
        tallies = self.tallies.get((first, second), [])
        return {name: t.comparison() for name, t in zip(self.outputs, tallies, strict=False)}

    def accuracy(self, labels: Labels | None) -> dict[str, float]:
        """Share of correct predictions by model; empty without labels.

        Args:
            labels: Those of all samples, if they were not behind the inputs.
        """
        given = self.labels if labels is None else [as_array(labels)]
        ran_all = self.predictions if self.closely == self.samples else ("float", "runtime")
        found = {name: x for name, x in self.predictions.items() if name in ran_all}
        return accuracy(given, found, self.classes)


def _structure(outputs: list[np.ndarray]) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """One output as a tensor, several as a tuple, as PyTorch models return them."""
    found = tuple(map(torch.from_numpy, outputs))
    return found[0] if len(found) == 1 else found


def _unoptimized(load: type[Runtime], path: Path, _: bool) -> _Run:
    """Load a file so that every node is computed as it is in the file."""
    file = load(path, optimize=False)
    return lambda feed: file.numbers(file.renamed(feed))
