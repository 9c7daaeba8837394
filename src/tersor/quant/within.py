"""Holds a network that is quantized with data within a tolerance, and says what that cost."""

from collections.abc import Callable

from torch import Tensor

from tersor.data.observe import Batch
from tersor.data.samples import held_back
from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Applied, Network, Record, Skipped
from tersor.quant.kept import NOTHING, Kept, Mixtures
from tersor.quant.noise_shares import noise_shares, weight_readers
from tersor.quant.place import weight_quantizer
from tersor.quant.scheme import Scheme
from tersor.quant.tolerance import (
    AUTO,
    Allowed,
    Attempt,
    Judge,
    Rounded,
    Tolerance,
    search,
)

#: Quantizes the network with some calls in floating point, with a solver or without.
Again = Callable[[Kept, bool], Rounded]
STEP = "tolerance"
_SAVED = 3  # bytes of a weight that integers save
_JUDGED = 64  # samples, if none are held back
_GAIN = 0.5  # share of the noise that must go if the tolerance is not met, and nobody asked
_FINE = 8  # bits from which nearest rounding tells how good a mixture is
_NONE = "the tolerance is not met, and there is no integer layer that could stay in float"
_SHOWN = 8  # layers that are named in one sentence


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
        return batches, _last(batches)
    kept = held_back(batches, tolerance.held_back)
    return (batches[:-kept], batches[-kept:]) if kept else (batches, batches)


def within(
    tolerance: Tolerance,
    target: tuple[Network, Scheme],
    first: Rounded,
    again: Again,
    batches: list[Batch],
) -> Rounded:
    """Leave layers in floating point until the outputs stay within the tolerance.

    Args:
        tolerance: What is asked for.
        target: The network without quantizers, and the scheme.
        first: The same, quantized as usual.
        again: Quantizes it with some calls in floating point, with a solver or without.
        batches: The samples on which it is judged.

    Raises:
        InvalidInputError: The network returns nothing in floating point.
    """
    network, scheme = target
    judge = Judge(network, batches, tolerance)
    if not judge.parts:
        if tolerance is AUTO:
            return first
        raise InvalidInputError(
            "tolerance: the model returns nothing in floating point, so there is no noise to "
            "measure; leave out tolerance="
        )
    start = judge.attempt(NOTHING, first)
    if start.meets:
        if tolerance is not AUTO:
            first.network.records.append(Applied("outputs", STEP, _reached(start, start)))
        return first
    mixtures = _mixtures(first, network, scheme, judge)
    if mixtures is None:
        first.network.records.append(Skipped("outputs", STEP, f"{_reached(start, start)}: {_NONE}"))
        return first
    best = _best(start, mixtures, judge, again, tolerance)
    if tolerance is AUTO and not best.meets and best.worst > _GAIN * start.worst:
        return first
    best.result.network.records += _prices(best, mixtures)
    best.result.network.records.append(_said(start, best, mixtures))
    return best.result


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
    solved = judge.attempt(best.kept, again(best.kept, True))
    return min(start, best, solved, key=lambda attempt: attempt.worst)


def _last(batches: list[Batch]) -> list[Batch]:
    """The last batches, so many that they hold enough samples."""
    found, count = [], 0
    for args, kwargs in reversed(batches):
        if count >= _JUDGED:
            break
        found.insert(0, (args, kwargs))
        count += max(
            (len(x) for x in (*args, *kwargs.values()) if getattr(x, "ndim", 0)), default=1
        )
    return found


def _sizes(args: tuple[object, ...], kwargs: dict[str, object]) -> list[int]:
    values = [*args, *kwargs.values()]
    return [len(x) for x in values if isinstance(x, Tensor) and x.ndim]


def _prices(best: Attempt, mixtures: Mixtures) -> list[Record]:
    """What each layer in floating point costs."""
    found: list[Record] = []
    network = best.result.network
    stored = {layer.node.name: _is_stored(layer) for layer in layers(network)}
    for layer in mixtures.layers(best.kept):
        size = 0 if stored[layer.node.name] else _SAVED * layer.weight.numel()
        numbers = {"share of time": mixtures.extra_time(layer), "bytes": float(size)}
        found.append(Applied(layer.name, STEP, "in float, for the outputs", numbers))
    return found


def _is_stored(layer: Layer) -> bool:
    quantizer = weight_quantizer(layer)
    return quantizer is not None and quantizer.enabled


def _said(start: Attempt, best: Attempt, mixtures: Mixtures) -> Record:
    said = _reached(start, best)
    names = [layer.name for layer in mixtures.layers(best.kept)]
    if names:
        shown = ", ".join(names[:_SHOWN]) + ", …" * (len(names) > _SHOWN)
        before, after = (mixtures.time(kept) for kept in (NOTHING, best.kept))
        said += (
            f", with {len(names)} of {mixtures.count} layers in float ({shown}) and a predicted "
            f"time of {after:.2f} of the float network's instead of {before:.2f}"
        )
    if not best.result.is_solved:
        said += "; weights keep the nearest integers, as the solver leaves more noise"
    if best.meets:
        return Applied("outputs", STEP, said)
    advice = "Give more samples, or exclude layers with exclude=, on the command line --exclude"
    return Skipped("outputs", STEP, f"the tolerance is not met: {said}. {advice}")


def _reached(start: Attempt, best: Attempt) -> str:
    """The worst part before and after, in words."""
    part = start.worst_part
    before, after = start.figures[part], best.figures[part]
    where = f"{after.part.name} reaches" if len(start.figures) > 1 else "the outputs reach"
    instead = f" instead of {before.sqnr:.1f}" if best is not start else ""
    return f"{where} {after.sqnr:.1f} dB{instead} on samples that were held back"
