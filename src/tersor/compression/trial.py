"""Tries every part of a network alone, once, so that networks for any budget follow quickly.

arXiv 1912.09802, §2: the damage of each part at each size is measured before a budget is given.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tersor.compression.counts import Counts
from tersor.compression.meter import Counted, Meter, Timed, Unit
from tersor.compression.mixture import Mixture, best_mixture, weighed
from tersor.compression.options import Compression
from tersor.compression.parts import Part, Scorer, branch_parts, group_parts, layer_parts
from tersor.compression.plan import Execution, carry_out, ways_within
from tersor.compression.scores import NEED_DATA, scorer
from tersor.compression.sweep import OnPart, Sweep, damages
from tersor.compression.ways import Way
from tersor.compression.within_latency import InTime, racing, ways_in_time
from tersor.data.given.sample_rows import first_batches
from tersor.data.outputs.outputs import Metric
from tersor.data.runs.fingerprint import fingerprint
from tersor.data.runs.journal import Journal
from tersor.data.walk.observe import Batch
from tersor.data.walk.shelf import Shelf
from tersor.distributions.propagation import propagate
from tersor.errors import InvalidInputError
from tersor.export.sessions.clock import Clock
from tersor.graph.carried import carried_nodes
from tersor.graph.layers import layers
from tersor.graph.network import Applied, Network
from tersor.names import ScoreKind
from tersor.quant.placement.patterns import excluded, patterns
from tersor.quant.ranges.input_range import input_ranges

STEPS = ("try every part alone", "choose within the budget", "compress")


@dataclass(frozen=True)
class Trial:
    """A network whose parts have been tried.

    Attributes:
        counts: The counts of the float network with folded BatchNorms.
        parts: The parts that can be compressed.
        lost: The damage of every way of each part.
        execution: How ways are carried out.
        sweep: How the parts were tried.
        options: See `Compression`.
        say: Called with the name of each step before it runs.
    """

    counts: Counts
    parts: list[Part]
    lost: list[tuple[float, ...]]
    execution: Execution
    sweep: Sweep
    options: Compression
    say: Callable[[str], None]

    def within(self, most: int, unit: Unit = "macs") -> Network:
        """Compress the network to a budget with the least damage.

        Args:
            most: The MACs or parameters that may remain.
            unit: Whether the budget counts MACs or parameters.

        Raises:
            TooSmallError: The budget is too small.
        """
        meter = Counted(self.counts, unit)
        return self._carried_out(self._best(lambda mixture: self._ways(most, meter, mixture)))

    def within_latency(self, share: float) -> Network:
        """Compress the network to a latency with the least damage.

        See `tersor.compression.within_latency`.

        Args:
            share: Share of the network's present latency in onnxruntime.

        Raises:
            InvalidInputError: No attempt was fast enough.
        """
        meter = Timed(self.counts, Clock(self._tell_time))
        self.say(STEPS[1])
        whole = sum(meter.each.values())
        tried = dict[tuple[Way, ...], InTime]()

        with racing(self.counts) as race:

            def choose(mixture: Mixture) -> list[Way]:
                found = ways_in_time(race, lambda m: self._ways(m, meter, mixture), whole, share)
                tried[tuple(found.ways)] = found
                return found.ways

            ways = self._best(choose)
        self.counts.network.records.append(tried[tuple(ways)].record)
        return self._carried_out(ways)

    def _ways(self, most: int, meter: Meter, mixture: Mixture) -> list[Way]:
        given = weighed(self.parts, self.lost, mixture)
        return ways_within(meter, *given, most, self.options.rule)

    def _best(self, choose: Callable[[Mixture], list[Way]]) -> list[Way]:
        """Choose the ways of the best mixture; see `tersor.compression.mixture`."""
        self.say(STEPS[1])
        given = self.counts, self.parts, self.lost, choose
        return best_mixture(*given, self.sweep, self.options.reconstruct)

    def _carried_out(self, ways: list[Way]) -> Network:
        self.say(STEPS[2])
        return carry_out(self.counts, ways, self.execution)

    def _tell_time(self, done: int, number: int) -> None:
        if self.sweep.on_part is not None:
            self.sweep.on_part(done, number, Applied("layers", "time", "timed in onnxruntime"))


def try_parts(
    network: Network,
    batches: Sequence[Batch],
    options: Compression,
    *,
    exclude: Iterable[str] = (),
    metric: Metric | None = None,
    jobs: int = 1,
    folder: str | Path | None = None,
    shelf: Shelf | None = None,
    say: Callable[[str], None],
    on_part: OnPart | None = None,
) -> Trial:
    """Try every part alone.

    Args:
        network: See `Trial`; it gets records of the layers that cannot be compressed.
        batches: Unlabelled inputs; may be empty.
        options: See `Compression`.
        exclude: See `tersor.compress`.
        metric: See `tersor.compress`.
        jobs: See `tersor.compress`.
        folder: See `tersor.compress`.
        shelf: Keeps the values of the samples; by default one that has room for all.
        say: Called with the name of each step before it runs.
        on_part: See `tersor.compress`.
    """
    say(STEPS[0])
    counts, stay = Counts(network), layers_named(network, exclude)
    parts = _parts(counts, batches, options, stay, shelf)
    tried = first_batches(batches, options.tried)
    sweep = Sweep(tried, metric, jobs=jobs, shelf=shelf, on_part=on_part)
    sweep = _kept(sweep, network, parts, options, folder)
    lost = damages(network, parts, sweep)
    expected = None if batches else propagate(network, input_ranges(network))
    execution = Execution(batches, expected, options.refit, options.reconstruct, on_part, shelf)
    return Trial(counts, parts, lost, execution, sweep, options, say)


def layers_named(network: Network, exclude: Iterable[str]) -> set[str]:
    """Find the names of the layers that a user excludes.

    Args:
        network: The network.
        exclude: See `tersor.compress`.

    Raises:
        InvalidInputError: A name matches nothing.
    """
    nodes = excluded(network, patterns(exclude))
    return {layer.name for layer in layers(network) if layer.node in nodes}


def _kept(
    sweep: Sweep,
    network: Network,
    parts: list[Part],
    options: Compression,
    folder: str | Path | None,
) -> Sweep:
    """Add a journal to a sweep, if there is a folder for it."""
    if folder is None:
        if options.name:
            raise InvalidInputError(
                f"Compression: name={options.name!r} has no effect without folder=; leave it out"
            )
        return sweep
    told = options, [part.ways for part in parts]
    run = fingerprint(network, sweep.batches, told, options.name, metric=sweep.metric)
    return replace(sweep, journal=Journal(folder, run))


def _parts(
    counts: Counts,
    batches: Sequence[Batch],
    options: Compression,
    stay: set[str],
    shelf: Shelf | None,
) -> list[Part]:
    """List the parts that can be compressed, and record those that cannot."""
    found, multiple, records = list[Part](), options.multiple or 1, counts.network.records
    if options.decompositions:
        parts, refused = layer_parts(counts, options.decompositions, options.ratios, multiple)
        found += parts
        records += refused
    if "prune" in options.methods:
        score = _scorer(counts, batches, options, shelf)
        parts, refused = group_parts(counts, score, options.ratios, multiple)
        found += parts
        records += refused
    if "drop" in options.methods:
        if not batches:
            raise InvalidInputError(
                "'drop' judges branches by the outputs, so it needs samples; give them with data="
            )
        found += branch_parts(counts)
    return [part for part in found if stay.isdisjoint(part.shares[0])]


def _scorer(
    counts: Counts, batches: Sequence[Batch], options: Compression, shelf: Shelf | None
) -> Scorer:
    has_gradients = not any(carried_nodes(counts.network))
    default: ScoreKind = "fisher" if has_gradients else "lasso"
    kind = options.scores or (default if batches else "magnitude")
    if kind in NEED_DATA and not batches:
        raise InvalidInputError(
            f"scores={kind!r} needs samples; give them with data=, or use scores='magnitude'"
        )
    tried = first_batches(batches, options.tried)
    return scorer(counts.network, counts.groups.found, tried, kind, shelf)
