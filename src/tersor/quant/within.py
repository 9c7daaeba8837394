"""Holds a network that is quantized with data within a tolerance, and says what that cost."""

from collections.abc import Callable

from tersor.data.observe import Batch, last_batches
from tersor.data.samples import held_back
from tersor.errors import InvalidInputError
from tersor.graph.layers import layers
from tersor.graph.network import Applied, Network
from tersor.quant.float_search import search
from tersor.quant.kept import NOTHING, Kept, Mixtures
from tersor.quant.noise_shares import noise_shares, weight_readers
from tersor.quant.prices import STEP, in_vain, nothing_left, prices, reached, said
from tersor.quant.proven import proven
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
)

#: Quantizes the network with some calls in floating point, with a solver or without.
Again = Callable[[Kept, bool], Rounded]
_JUDGED = 64  # samples, if none are held back
_LOOKED_AT = 16  # samples that tell whether it is worth judging at all, if nobody asked
_FINE = 8  # bits from which nearest rounding tells how good a mixture is


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


def divided(batches: list[Batch], tolerance: Tolerance | None) -> tuple[list[Batch], list[Batch]]:
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
    first: Rounded,
    again: Again,
    batches: list[Batch],
    run: Run,
) -> Rounded:
    """Leave layers in floating point until the outputs stay within the tolerance.

    Args:
        tolerance: What is asked for.
        target: The network without quantizers, and the scheme.
        first: The same, quantized as usual.
        again: Quantizes it with some calls in floating point, with a solver or without.
        batches: The samples on which it is judged.
        run: Runs a network as a file in the runtime.

    Raises:
        InvalidInputError: The network returns nothing in floating point.
    """
    network, scheme = target
    if tolerance is AUTO and not _needs_float(network, first, last_batches(batches, _LOOKED_AT)):
        return first
    judge = Judge(network, batches, tolerance)
    if not judge.parts:
        raise InvalidInputError(
            "tolerance: the model returns nothing in floating point, so there is no noise to "
            "measure; leave out tolerance="
        )
    simulated, in_runtime = judge.attempt(NOTHING, first), judge.elsewhere(run)
    start = in_runtime.attempt(NOTHING, first)
    if tolerance is AUTO and not (simulated.needs_float and start.needs_float):
        return first
    if start.meets:
        first.network.records.append(Applied("outputs", STEP, reached(tolerance, start, start)))
        return first
    mixtures = _mixtures(first, network, scheme, judge)
    if mixtures is None:
        first.network.records.append(nothing_left(tolerance, start))
        return first
    best = simulated
    if not simulated.meets:
        best = _best(simulated, mixtures, judge, again, tolerance)
    best = proven(best, mixtures, in_runtime, _as_it_was(best, again), tolerance)
    if tolerance is AUTO and best.is_bad:
        first.network.records.append(in_vain(start))
        return first
    paid = prices(best, mixtures)
    best.result.network.records += [*paid, said(tolerance, start, best, mixtures, paid)]
    return best.result


def _needs_float(network: Network, first: Rounded, batches: list[Batch]) -> bool:
    """Whether a few samples say that the verdict will be bad, or scores not good."""
    judge = Judge(network, batches, AUTO)
    return bool(judge.parts) and judge.attempt(NOTHING, first).needs_float


def _as_it_was(best: Attempt, again: Again) -> Quantize:
    """Quantizes with the solver if that gave the best."""
    return lambda kept: again(kept, best.result.is_solved)


def _mixtures(first: Rounded, network: Network, scheme: Scheme, judge: Judge) -> Mixtures | None:
    """What can stay in floating point, if anything can."""
    integer = weight_readers(first.network)
    left = [layer for layer in layers(network) if layer.node.name in integer]
    if not left:
        return None
    noise = noise_shares(first.network, first.prepared, judge.batches, judge.parts)
    out = {node for node in network.graph.nodes if node.name in first.left_out}
    return Mixtures(network, scheme, left, out, noise)


def _best(
    start: Attempt, mixtures: Mixtures, judge: Judge, again: Again, tolerance: Tolerance
) -> Attempt:
    """Search with nearest integers, which takes a moment, and round the result with the solver."""
    needs_solver = start.result.fewest_bits < _FINE

    def quantized(kept: Kept) -> Rounded:
        return again(kept, needs_solver)

    if needs_solver:
        return search(start, mixtures, judge, quantized, tolerance)
    plain = judge.attempt(NOTHING, quantized(NOTHING))
    best = search(plain, mixtures, judge, quantized, tolerance)
    if not best.kept:
        return min(start, best, key=lambda attempt: attempt.worst)
    solved = judge.attempt(best.kept, again(best.kept, True))
    return min(start, best, solved, key=lambda attempt: attempt.worst)
