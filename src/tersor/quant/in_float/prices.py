"""Says what a tolerance cost: layer by layer in size and time, and in one sentence."""

from tersor.data.outputs.verdict import grade, needed
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Applied, Record, Skipped
from tersor.quant.placement.kept import NOTHING, Mixtures
from tersor.quant.placement.place import weight_quantizer
from tersor.quant.tolerance import AUTO, Attempt, Tolerance

STEP = "tolerance"
_FLOAT, _INTEGER = 4, 1  # bytes of a weight
_SHOWN = 8  # layers that are named in one sentence
_TIME, _BYTES = "share of time", "bytes"
_NONE = "there is no integer layer that could stay in float"
_VAIN = (
    "the verdict would be bad: {}. Leaving layers in float does not mend it. Run tersor diagnose "
    "with samples, or tersor.diagnose"
)
_WEIGHTS = {
    "solved": "",
    "corrected": "; weights keep the nearest integers, as little of the noise is theirs",
    "nearest": "; weights keep the nearest integers, as the solver leaves more noise",
}
_UNDO = "; tolerance=None, on the command line --tolerance off, keeps them in integers"


def prices(best: Attempt, mixtures: Mixtures) -> list[Applied]:
    """What each layer in floating point costs.

    Args:
        best: The network.
        mixtures: What can stay in floating point, and the predicted times.
    """
    found = []
    stored = {layer.node.name: _bytes(layer) for layer in layers(best.result.network)}
    whole = mixtures.time(best.kept)
    for layer in mixtures.layers(best.kept):
        size = (stored[layer.node.name] - _INTEGER) * layer.weight.numel()
        time = whole - mixtures.time(mixtures.pruned(best.kept - {layer.node.name}))
        numbers = {_TIME: time, _BYTES: float(size)}
        found.append(Applied(layer.name, STEP, "in float, for the outputs", numbers))
    return found


def _bytes(layer: Layer) -> int:
    """The bytes of a weight in the file."""
    quantizer = weight_quantizer(layer)
    return _FLOAT if quantizer is None or not quantizer.enabled else quantizer.grid.bits // 8


def said(
    tolerance: Tolerance, start: Attempt, best: Attempt, mixtures: Mixtures, paid: list[Applied]
) -> Record:
    """What was reached, and what it cost.

    Args:
        tolerance: What was asked for.
        start: Everything in integers.
        best: The result.
        mixtures: What can stay in floating point.
        paid: What `prices` says.
    """
    words = reached(tolerance, start, best)
    if paid:
        before, after = (mixtures.time(kept) for kept in (NOTHING, best.kept))
        words += (
            f", with {len(paid)} of {mixtures.count} layers in float and a predicted time of "
            f"{after:.2f} of the float network's instead of {before:.2f}: {_listed(paid)}"
        )
    words += _WEIGHTS[best.result.weights]
    if tolerance is AUTO and not (start.is_bad or best.kept):
        return Applied("outputs", STEP, words)
    if tolerance is AUTO:
        words = f"{_why(start)}: {words}{_UNDO}"
    elif not best.meets:
        return missed(words)
    return Applied("outputs", STEP, words)


def _why(start: Attempt) -> str:
    """Why layers stay in float though nobody asked."""
    part = start.figures[start.worst_part]
    if start.is_bad:
        return "the verdict would have been bad"
    if grade(part) == "good":
        return f"single scores should have {needed(part):g} dB, as each decides something"
    return "the verdict would have been 'look'"


def missed(words: str) -> Skipped:
    """That the tolerance is not met.

    Args:
        words: What is reached instead.
    """
    advice = "Give more samples, or exclude layers with exclude=, on the command line --exclude"
    return Skipped("outputs", STEP, f"the tolerance is not met: {words}. {advice}")


def nothing_left(tolerance: Tolerance, start: Attempt) -> Skipped:
    """That no layer could stay in floating point.

    Args:
        tolerance: What was asked for.
        start: The network.
    """
    if tolerance is AUTO:
        return in_vain(start)
    return Skipped(
        "outputs",
        STEP,
        f"the tolerance is not met: {reached(tolerance, start, start)}, and {_NONE}. Give "
        "activations= or weights= more bits",
    )


def in_vain(start: Attempt) -> Skipped:
    """That the verdict would be bad, and layers in float do not mend it.

    Args:
        start: Everything in integers.
    """
    return Skipped("outputs", STEP, _VAIN.format(reached(AUTO, start, start)))


def reached(tolerance: Tolerance, start: Attempt, best: Attempt) -> str:
    """The worst part before and after, in words.

    Args:
        tolerance: What was asked for.
        start: Everything in integers.
        best: The result.
    """
    part = start.worst_part
    before, after = start.figures[part], best.figures[part]
    where = f"{after.part.name} reaches" if len(start.figures) > 1 else "the outputs reach"
    seen = "samples" if tolerance.held_back is None else "samples that were held back"
    words, instead = f"{where} {after.sqnr:.1f} dB", f" instead of {before.sqnr:.1f}"
    if best.result is start.result:
        instead = ""
    if best.where == start.where:
        return f"{words}{instead} in the {best.where} on {seen}"
    return f"{words} in the {best.where} on {seen}{instead} in the {start.where}"


def _listed(paid: list[Applied]) -> str:
    """The price of each layer, the slowest first: `head.conv (time +0.031, +1,200 bytes)`."""
    dearest = sorted(paid, key=lambda record: -record.numbers[_TIME])
    shown = [
        f"{record.layer} (time {record.numbers[_TIME]:+.3f}, {record.numbers[_BYTES]:+,.0f} bytes)"
        for record in dearest[:_SHOWN]
    ]
    return ", ".join(shown) + f", and {len(paid) - _SHOWN} more" * (len(paid) > _SHOWN)
