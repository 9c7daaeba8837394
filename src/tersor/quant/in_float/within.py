"""Holds a network that is quantized with data within a tolerance, and says what that cost."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from tersor.data.given.sample_rows import last_batches, sample_counts
from tersor.data.given.samples import held_back
from tersor.data.walk.observe import Batch
from tersor.errors import InvalidInputError
from tersor.graph.layers import layers
from tersor.graph.network import Applied, Network
from tersor.quant.in_float.float_search import closer, search
from tersor.quant.in_float.prices import STEP, in_vain, nothing_left, prices, reached, said
from tersor.quant.in_float.proven import proven
from tersor.quant.in_float.switched import switched
from tersor.quant.noise.noise_shares import noise_shares, weight_readers
from tersor.quant.placement.kept import NOTHING, Kept, Mixtures
from tersor.quant.scheme import Scheme
from tersor.quant.tolerance import (
    AUTO,
    Allowed,
    Attempt,
    Judge,
    Quantize,
    Rounded,
    Run,
    Tolerance,
    Weights,
)

#: Quantizes the network with some calls in floating point.
Again = Callable[[Kept, Weights], Rounded]
_JUDGED = 64  # samples, if none are held back
_FINE = 8  # bits from which nearest rounding tells how good a mixture is
_OUT_OF_REACH = 10**0.4  # times the noise that is allowed: 4 dB are more than the solver gains
_NEAR = 0.5  # times the noise that is allowed: parts with less are left alone, and only watched
_LITTLE = 0.4  # of the noise: without that of weights there would be 2 dB more
_SPARE = 0.75  # times the noise that is allowed


def check_tolerance(given: Allowed | None, has_data: bool) -> None:
    """Check whether a tolerance can be judged.

    Args:
        given: The value of `tolerance=`.
        has_data: Whether there are samples.

    Raises:
        InvalidInputError: There are no samples to judge it on.
    """
    if given not in ("auto", None) and not has_data:
        raise InvalidInputError(
            f"tolerance={given!r} is judged on samples, and there are none; give data=, on the "
            "command line --data, or leave out the tolerance"
        )


def tolerance_of(given: Allowed | None, auto: bool) -> Tolerance | None:
    """What a user asks for, or None to hold nothing.

    Args:
        given: The value of `tolerance=`.
        auto: Whether `"auto"` applies.
    """
    if given == "auto":
        return AUTO if auto else None
    return given if isinstance(given, Tolerance) or given is None else Tolerance(float(given))


def divided(
    batches: Sequence[Batch], tolerance: Tolerance | None
) -> tuple[Sequence[Batch], Sequence[Batch]]:
    """Divide samples into those that are learned from, and those on which the result is judged.

    Args:
        batches: All samples.
        tolerance: What is asked for.
    """
    if tolerance is None:
        return batches, []
    if tolerance.held_back is None:
        return batches, last_batches(batches, _JUDGED)
    kept = held_back(batches, tolerance.held_back)
    return (batches[:-kept], batches[-kept:]) if kept else (batches, batches)


def within(
    tolerance: Tolerance,
    target: tuple[Network, Scheme],
    again: Again,
    batches: Sequence[Batch],
    looked: Judge,
    run: Run,
) -> Rounded:
    """Leave layers in floating point until the outputs stay within the tolerance.

    Args:
        tolerance: What is asked for.
        target: The network without quantizers, and the scheme.
        again: Quantizes it with some calls in floating point.
        batches: The samples on which it is judged.
        looked: A judge of a few samples, which tell whether it is worth judging if nobody asked.
        run: Runs a network as a file in the runtime.

    Raises:
        InvalidInputError: The network returns nothing in floating point.
    """
    if not looked.parts and tolerance is AUTO:
        return again(NOTHING, "solved")
    network = target[0]
    judge = looked if tolerance is AUTO else _judge(network, batches, tolerance)
    start = _start(judge.attempt(NOTHING, again(NOTHING, "nearest")), judge, again, tolerance)
    if tolerance is AUTO and not start.needs_float:
        return start.result
    if tolerance is AUTO and _count(batches) > _count(judge.batches):
        judge = _judge(network, batches, tolerance)
        start = judge.attempt(NOTHING, start.result)
    glance = looked if tolerance is AUTO else judge
    return _held(tolerance, target, start, again, (judge, glance), run)


def _count(batches: Sequence[Batch]) -> int:
    return sum(sample_counts(batches))


def _judge(network: Network, batches: Sequence[Batch], tolerance: Tolerance) -> Judge:
    judge = Judge(network, batches, tolerance)
    if not judge.parts:
        raise InvalidInputError(
            "tolerance: the model returns nothing in floating point, so there is no noise to "
            "measure; leave out tolerance="
        )
    return judge


def _start(plain: Attempt, judge: Judge, again: Again, tolerance: Tolerance) -> Attempt:
    """Everything in integers; without a solver if that is far from what would be enough."""
    is_fine = plain.result.fewest_bits >= _FINE
    is_asked = tolerance is not AUTO or plain.needs_float
    if is_fine and is_asked and plain.worst > _OUT_OF_REACH:
        return plain
    solved = again(NOTHING, "solved")
    if tolerance is AUTO and solved.seen is not None:
        return replace(solved.seen, result=solved)
    return judge.attempt(NOTHING, solved)


def _held(
    tolerance: Tolerance,
    target: tuple[Network, Scheme],
    simulated: Attempt,
    again: Again,
    judges: tuple[Judge, Judge],
    run: Run,
) -> Rounded:
    """Leave layers in floating point; for the arguments see `within`.

    The second judge has fewer samples, for mixtures that are only tried.
    """
    judge, _ = judges
    first, in_runtime, start = simulated.result, judge.in_runtime(run), simulated
    if tolerance is not AUTO or start.worst <= _OUT_OF_REACH:
        start = in_runtime.attempt(NOTHING, first)
    if tolerance is AUTO and not (simulated.needs_float and start.needs_float):
        return again(NOTHING, "solved")
    if start.meets:
        first.network.records.append(Applied("outputs", STEP, reached(tolerance, start, start)))
        return first
    mixtures = _mixtures(simulated, *target, judge)
    if mixtures is None:
        first.network.records.append(nothing_left(tolerance, start))
        return first
    best = simulated
    if not simulated.meets:
        best = _best(simulated, mixtures, judges, again, tolerance)
    best = proven(best, mixtures, in_runtime, _as_it_was(best, again), tolerance)
    if tolerance is AUTO and best.is_bad:
        first = again(NOTHING, "solved")
        first.network.records.append(in_vain(start))
        return first
    paid = prices(best, mixtures)
    best.result.network.records += [*paid, said(tolerance, start, best, mixtures, paid)]
    return best.result


def _as_it_was(best: Attempt, again: Again) -> Quantize:
    """Rounds weights as it gave the best."""
    return lambda kept: again(kept, best.result.weights)


def _mixtures(start: Attempt, network: Network, scheme: Scheme, judge: Judge) -> Mixtures | None:
    """What can stay in floating point, if anything can; noise counts where there is much of it."""
    first = start.result
    integer = weight_readers(first.network)
    left = [layer for layer in layers(network) if layer.node.name in integer]
    if not left:
        return None
    looked = [
        part for part, excess in zip(judge.parts, start.excess, strict=True) if excess > _NEAR
    ]
    networks = first.network, first.prepared
    noise = noise_shares(*networks, judge.batches, judge.parts, looked or judge.parts)
    out = {node for node in network.graph.nodes if node.name in first.left_out}
    return Mixtures(network, scheme, left, out, noise)


def _best(
    start: Attempt,
    mixtures: Mixtures,
    judges: tuple[Judge, Judge],
    again: Again,
    tolerance: Tolerance,
) -> Attempt:
    """Search with nearest integers, which takes a moment, and round the result with the solver.

    No solver can take away more than the noise of the weights. Where that is little of all noise,
    they keep the nearest integers, if the outputs have something to spare once biases make up for
    that.
    """
    judge, glance = judges
    if start.result.fewest_bits < _FINE:
        measure = judge.measure(lambda kept: again(kept, "solved"))
        return search(start, mixtures, measure, tolerance)
    nearest = again(NOTHING, "nearest")
    measure = switched(nearest, mixtures, glance)
    is_known = start.result is nearest and glance is judge
    plain = start if is_known else measure(NOTHING)
    found = search(plain, mixtures, measure, tolerance)
    if found.meets and _is_little(found, mixtures):
        corrected = judge.attempt(found.kept, again(found.kept, "corrected"))
        if corrected.worst <= _SPARE:
            return corrected
    solved = judge.attempt(found.kept, again(found.kept, "solved"))
    best = min(start, solved, key=lambda attempt: attempt.worst)
    if found.worst >= best.worst:
        return best
    plain = judge.attempt(found.kept, again(found.kept, "nearest"))
    best = min(best, plain, key=lambda attempt: attempt.worst)
    if best.meets or not found.meets:
        return best
    measure = judge.measure(lambda kept: again(kept, best.result.weights))
    further = closer(best, mixtures, measure, tolerance, iter(range(tolerance.proofs)))
    return min([best, *further], key=lambda attempt: attempt.worst)


def _is_little(found: Attempt, mixtures: Mixtures) -> bool:
    """Whether rounding the weights adds little to the noise of the worst part."""
    weights, every = mixtures.weight_noise(found.kept), mixtures.noise(found.kept)
    return bool(weights[found.worst_part] <= _LITTLE * every[found.worst_part])
