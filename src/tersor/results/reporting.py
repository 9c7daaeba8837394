"""The report on a model: its records, its layers on a few samples, and its verification."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from tersor.data.given.feeds import Data, Labels
from tersor.data.given.samples import given_or_example, repeatable, samples
from tersor.export.proof.verification import Verification
from tersor.export.proof.verify import STEPS as VERIFY_STEPS
from tersor.export.sessions.machine import doctor
from tersor.files import temporary_folder
from tersor.graph.costs import costs, total
from tersor.graph.network import Network, OnLayer
from tersor.graph.simplify import simplify
from tersor.quant.sensitivity import Sensitivity
from tersor.report.contents import Budget, Made, Report, Verified
from tersor.report.layer_rows import layer_reports, left_of
from tersor.report.measure import measure
from tersor.report.progress import shows_progress
from tersor.report.saved import check, save
from tersor.report.structure import cells
from tersor.report.summary import summarize
from tersor.training.log import Line

MEASURE = "measure the layers"
STEPS = (*VERIFY_STEPS, MEASURE)
_LOWEST, _HIGHEST = -200.0, 200.0  # dB, as in the JSON of `verify`


@dataclass(frozen=True)
class Subject:
    """The subject of a report.

    Attributes:
        kind: Whether the model was quantized or compressed.
        network: The resulting network.
        original: The captured float model.
        prepared: The float network that was rounded, or None if no network was.
        target: Name of the integer format.
        training: The training curve.
        compressed: What was quantized, if the original was compressed first.
    """

    kind: Literal["quantized", "compressed"]
    network: Network
    original: Network
    prepared: Network | None
    target: str
    training: tuple[Line, ...]
    compressed: Network | None = None


@dataclass(frozen=True)
class Wanted:
    """The contents that were asked for in a report.

    Attributes:
        path: Where the report is written, or None.
        inputs: The samples on which the file is verified and layers are measured. Default: the
            example.
        labels: The class of each sample.
        verification: The result of an earlier `verify`. Otherwise a temporary file is written and
            verified.
        verify: Whether to run the file in the runtime at all.
        samples: Number of samples on which layers are measured.
        title: Heading of the report.
        command: The command that produced the model.
        sensitivity: Damage per layer: the `sensitivities` that `tersor.search_bits` returns.
        curve: The network at several budgets: the `budgets` that `tersor.pareto` returns.
    """

    path: str | Path | None = None
    inputs: Data = None
    labels: Labels | None = None
    verification: Verification | None = None
    verify: bool = True
    samples: int = 32
    title: str | None = None
    command: str | None = None
    sensitivity: Sequence[Sensitivity] = ()
    curve: Sequence[Budget] = ()


@shows_progress(len(STEPS))
def make_report(
    subject: Subject,
    wanted: Wanted,
    export: Callable[[Path], object],
    verify: Callable[..., Verification],
    *,
    on_step: Callable[[str], None] | None = None,
    on_layer: OnLayer | None = None,
) -> Report:
    """Measure everything that is not known yet, and write the report if it has a path.

    Args:
        subject: The model.
        wanted: The contents of the report.
        export: Writes the model's file.
        verify: Verifies that file, given inputs and options.
        on_step: Called with the name of each step before it runs. Default: a progress bar.
        on_layer: Called after each layer that is measured.

    Raises:
        UnsupportedError: Packages for reports are missing. The message names them.
    """
    check(wanted.path)
    inputs = repeatable(given_or_example(subject.original, wanted.inputs))
    checked = wanted.verification
    if checked is None and wanted.verify:
        with temporary_folder() as folder:
            path = folder / "model.onnx"
            export(path)
            checked = verify(path, inputs, labels=wanted.labels, on_step=on_step)
    if on_step is not None:
        on_step(MEASURE)
    said = None if checked is None else verified(checked)
    found = _report(subject, wanted, inputs, said, on_layer)
    if wanted.path is not None:
        save(found, wanted.path)
    return found


def _report(
    subject: Subject,
    wanted: Wanted,
    inputs: Data,
    checked: Verified | None,
    on_layer: OnLayer | None,
) -> Report:
    network = subject.network
    original = _simplified(subject.original)
    before = original if subject.compressed is None else _simplified(subject.compressed)
    floating = subject.prepared or before
    few = samples(subject.original, inputs, wanted.samples)
    measured = measure(floating, network, few, on_layer)
    summary = summarize(network.records)
    is_compressed = subject.kind == "compressed"
    return Report(
        title=wanted.title or f"A {subject.kind} model",
        kind=subject.kind,
        made=_made(subject, wanted),
        verified=checked,
        before=total(costs(original).values()),
        after=total(costs(network).values()),
        layers=layer_reports(network, measured, None if is_compressed else (before, floating)),
        left=left_of(before, network) if is_compressed else (),
        cells=cells(network),
        steps=summary.steps,
        refusals=summary.refusals,
        sensitivity=tuple(wanted.sensitivity),
        training=subject.training,
        curve=tuple(wanted.curve),
    )


def _simplified(network: Network) -> Network:
    found = network.copy()
    simplify(found)
    return found


def _made(subject: Subject, wanted: Wanted) -> Made:
    machine = doctor()
    packages = {name: version for name, version in machine.packages.items() if version}
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Made(wanted.command, subject.target, packages, str(machine), date)


def verified(checked: Verification) -> Verified:
    """Summarize a verification for a report.

    Args:
        checked: The verification.
    """
    quantized = checked.quantized.values()
    shares = [x.top1 for x in quantized if x.top1 is not None]
    return Verified(
        runtime=checked.runtime_name,
        samples=checked.samples,
        float_bytes=checked.float_bytes,
        bytes=checked.bytes,
        float_ms=None if checked.latency is None else checked.latency.float_ms,
        ms=None if checked.latency is None else checked.latency.ms,
        top1=min(shares) if shares else None,
        sqnr=_cut(min(x.sqnr for x in quantized)),
        exactness=_cut(checked.sqnr),
        accuracy={k: v for k, v in checked.accuracy.items() if k in ("float", "runtime")},
        layers=len(checked.kernels),
        in_float=dict(checked.in_float),
        verdict=checked.verdict,
    )


def _cut(decibels: float) -> float:
    return max(_LOWEST, min(_HIGHEST, decibels))
