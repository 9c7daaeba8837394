"""The headline of a report: two sentences, and a few numbers before and after."""

from dataclasses import dataclass

from tersor.report.contents import Report, Verified
from tersor.report.numbers import count, megabytes, milliseconds, noise, percent, times

_ABOUT_AS = 0.03  # a relative difference of times that is not worth mentioning


@dataclass(frozen=True)
class Tile:
    """One number that matters.

    Attributes:
        name: Name of the number.
        before: Its value for the float model; empty if there is none.
        after: Its value for the result.
        change: How they compare.
        share: After over before, at most 1, for a bar; None for none.
    """

    name: str
    before: str
    after: str
    change: str
    share: float | None = None


def sentence(report: Report) -> str:
    """Summarize the result in two sentences.

    Args:
        report: The report.
    """
    seen = report.verified
    if seen is None:
        share = percent(report.after.macs / max(1, report.before.macs))
        return f"{share} of the multiplications are left. The file has not been verified."
    smaller = seen.bytes <= seen.float_bytes
    size = times(max(seen.float_bytes / seen.bytes, seen.bytes / seen.float_bytes))
    size = f"The file is {size} {'smaller' if smaller else 'larger'}"
    return f"{size}{_speed(seen)}. {_quality(seen)}"


def _speed(seen: Verified) -> str:
    where = f"the float model in {seen.runtime}"
    if seen.ms is None or seen.float_ms is None:
        return f" than {where}"
    gain = seen.float_ms / seen.ms
    if abs(gain - 1) < _ABOUT_AS:
        return f" and about as fast as {where}"
    if gain < 1:
        return f" than {where}, and takes {times(1 / gain)} as long"
    return f" and {times(gain)} as fast as {where}"


def _quality(seen: Verified) -> str:
    samples = f"{seen.samples} sample" + "s" * (seen.samples != 1)
    if {"float", "runtime"} <= seen.accuracy.keys():
        before, after = percent(seen.accuracy["float"]), percent(seen.accuracy["runtime"])
        return f"On {samples} it finds {after} of the labels; the float model finds {before}."
    if seen.top1 is not None:
        return (
            f"On {samples} it agrees with the float model on {percent(seen.top1)} of the classes."
        )
    return f"On {samples} its outputs are {noise(seen.sqnr)} away from those of the float model."


def _pace(gain: int | float) -> str:
    return f"{times(gain)} as fast" if gain >= 1 else f"{times(1 / gain)} as long"


def tiles(report: Report) -> list[Tile]:
    """List the numbers that matter.

    Args:
        report: The report.
    """
    found = [] if report.verified is None else _of_runtime(report.verified)
    if report.kind == "compressed":
        for name, attribute in (("Multiplications", "macs"), ("Parameters", "parameters")):
            before, after = getattr(report.before, attribute), getattr(report.after, attribute)
            share = after / max(1, before)
            found.append(Tile(name, count(before), count(after), f"{percent(share)} left", share))
    return found


def _of_runtime(seen: Verified) -> list[Tile]:
    small = seen.bytes / seen.float_bytes
    found = [
        Tile(
            "File size",
            megabytes(seen.float_bytes),
            megabytes(seen.bytes),
            f"{times(1 / small)} smaller" if small <= 1 else f"{times(small)} as large",
            min(1.0, small),
        )
    ]
    if seen.ms is not None and seen.float_ms is not None:
        share, gain = seen.ms / seen.float_ms, seen.float_ms / seen.ms
        before, after = milliseconds(seen.float_ms), milliseconds(seen.ms)
        found.append(Tile("Time per sample", before, after, _pace(gain), min(1.0, share)))
    if {"float", "runtime"} <= seen.accuracy.keys():
        before, after = seen.accuracy["float"], seen.accuracy["runtime"]
        change = f"{100 * (after - before):+.2f} points"
        found.append(Tile("Accuracy", percent(before), percent(after), change))
    if seen.top1 is not None:
        found.append(Tile("Same class as float", "", percent(seen.top1), f"{seen.samples} samples"))
    found.append(Tile("Distance from float", "", noise(seen.sqnr), f"{seen.sqnr:.1f} dB"))
    if seen.layers:
        integer = seen.layers - len(seen.in_float)
        found.append(Tile("Layers on integers", "", f"{integer} of {seen.layers}", seen.runtime))
    return found
