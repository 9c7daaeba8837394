"""Compares two reports: size, speed, accuracy, and the layers that differ most."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Group

from tersor.checked import checked
from tersor.data.outputs.verdict import GRADES
from tersor.errors import InvalidInputError
from tersor.files import write_atomically
from tersor.report.contents import LayerReport, Report, Verified
from tersor.report.headline import sentence
from tersor.report.numbers import count, decibels, megabytes, percent
from tersor.report.page import as_script, render
from tersor.report.plots import two_errors
from tersor.report.saved import read
from tersor.report.tables import compared_table, html, plain

_SHOWN = 10  # layers in the terminal
_ALIKE = 0.005  # a difference that is not worth a colour
_AS_FAST = 0.05  # the same for times: two timings of one file differ by that much


@dataclass(frozen=True)
class NumberChange:
    """One number in two reports.

    Attributes:
        name: Name of the number.
        first: Its value in the first report; empty if it is missing.
        second: The same in the second report.
        better: The one that is better: 1, 2, or 0 for neither.
    """

    name: str
    first: str
    second: str
    better: int


@dataclass(frozen=True)
class LayerChange:
    """A layer that both reports have.

    Attributes:
        name: Its name.
        first: Its bits, and SQNR in dB with everything before it quantized, in the first report.
        second: The same in the second report.
        gain: SQNR of the second less that of the first, dB; None unless both are known.
    """

    name: str
    first: tuple[int | None, float | None]
    second: tuple[int | None, float | None]
    gain: float | None


@dataclass(frozen=True)
class Differences:
    """Two reports side by side; print it, or save it as a page.

    Attributes:
        first: The first report.
        second: The second one.
        numbers: The figures that can be compared as a whole.
        layers: The layers that both have, those that differ most first.
    """

    first: Report
    second: Report
    numbers: tuple[NumberChange, ...]
    layers: tuple[LayerChange, ...]

    @property
    def names(self) -> tuple[str, str]:
        """The titles, made different if they are the same."""
        first, second = self.first.title, self.second.title
        return (first, second) if first != second else (f"{first}, 1st", f"{second}, 2nd")

    def as_dict(self) -> dict[str, object]:
        """Convert to plain data, ready for JSON."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "numbers": [asdict(change) for change in self.numbers],
            "layers": [asdict(layer) for layer in self.layers],
        }

    @checked()
    def save(self, path: str | Path) -> Path:
        """Write one HTML page that needs nothing else.

        Args:
            path: The file.

        Raises:
            ExportError: It cannot be written.
            UnsupportedError: The packages for it are not installed.
        """
        write_atomically(path, _page(self).encode())
        return Path(path)

    def __rich__(self) -> Group:
        numbers = [(x.name, x.first, x.second) for x in self.numbers]
        tables = [compared_table("Two reports", self.names, numbers)]
        if self.layers:
            rows = [(x.name, said(*x.first), said(*x.second)) for x in self.layers[:_SHOWN]]
            tables.append(compared_table("Layers that differ most", self.names, rows))
        return Group(*tables)

    def _repr_html_(self) -> str:
        """The tables as a notebook shows them."""
        return html(self)

    def __str__(self) -> str:
        """The tables as plain text."""
        return plain(self.__rich__())


def _page(found: Differences) -> str:
    """Two reports side by side, as a page."""
    places = {layer.name: number for number, layer in enumerate(found.first.layers, 1)}
    ends = {x.name: (places[x.name], x.first[1], x.second[1]) for x in found.layers}
    charts = {} if (plot := two_errors(found.names, ends)) is None else {"errors": plot.to_dict()}
    title = charts["errors"].pop("title") if charts else ""
    reports = [(report, sentence(report)) for report in (found.first, found.second)]
    data = as_script(charts)
    return render(
        "compare.html", found=found, ends=reports, said=said, title=title, chart_data=data
    )


@checked("first", "second")
def compare(first: Report | str | Path, second: Report | str | Path) -> Differences:
    """Compare two reports of one model that was made in two ways.

    Args:
        first: A report, or the JSON file of one.
        second: Another report, or the JSON file of one.

    Raises:
        InvalidInputError: A file cannot be read, or is not a report.
    """
    reports = [_report(x) for x in (first, second)]
    return Differences(reports[0], reports[1], _numbers(*reports), _layers(*reports))


def _report(given: Report | str | Path) -> Report:
    if isinstance(given, Report):
        return given
    if isinstance(given, str | Path):
        return read(given)
    raise InvalidInputError(
        f"a {type(given).__name__} is no report; give `q.report(None, inputs)`, or its JSON file"
    )


def said(bits: int | None, sqnr: float | None) -> str:
    """`4 bits, 21.3 dB`."""
    width = "float" if bits is None else f"{bits} bits"
    return width if sqnr is None else f"{width}, {decibels(sqnr)} dB"


def _numbers(first: Report, second: Report) -> tuple[NumberChange, ...]:
    found = [_change(name, *spec, first, second) for name, spec in _NUMBERS.items()]
    counts = {report.verified.samples for report in (first, second) if report.verified}
    if len(counts) > 1:  # measured on different samples: neither is better
        found = [replace(x, better=0) if x.name in _ON_SAMPLES else x for x in found]
    return tuple(change for change in found if change.first or change.second)


_Value = Callable[[Report], int | float | None]


def _change(
    name: str,
    value: _Value,
    show: Callable[[int | float], str],
    sign: int,
    first: Report,
    second: Report,
) -> NumberChange:
    a, b = value(first), value(second)
    better = 0
    alike = _AS_FAST if value is _TIME else _ALIKE
    if sign and a is not None and b is not None and abs(a - b) > alike * max(abs(a), abs(b)):
        better = 2 if (b - a) * sign > 0 else 1
    shown = ["" if x is None else show(x) for x in (a, b)]
    return NumberChange(name, shown[0], shown[1], better)


def _seen(value: Callable[[Verified], int | float | None]) -> _Value:
    return lambda report: None if report.verified is None else value(report.verified)


def _average_bits(report: Report) -> float | None:
    known = [(x.bits, x.parameters) for x in report.layers if x.bits is not None]
    return sum(b * n for b, n in known) / sum(n for _, n in known) if known else None


def _grade(place: int | float) -> str:
    return GRADES[int(place)]


def _ratio(seen: Verified) -> float | None:
    """Milliseconds of different days are not compared, but the times of both files of one day."""
    return None if seen.ms is None or not seen.float_ms else seen.ms / seen.float_ms


_TIME = _seen(_ratio)
_NUMBERS: dict[str, tuple[_Value, Callable[[int | float], str], int]] = {
    "file size": (_seen(lambda x: x.bytes), megabytes, -1),
    "verdict": (_seen(lambda x: x.verdict and GRADES.index(x.verdict.grade)), _grade, -1),
    "time against float": (_TIME, "{:.2f}×".format, -1),
    "samples": (_seen(lambda x: x.samples), count, 0),
    "accuracy": (_seen(lambda x: x.accuracy.get("runtime")), percent, 1),
    "same class as float": (_seen(lambda x: x.top1), percent, 1),
    "SQNR against float": (_seen(lambda x: x.sqnr), "{:.1f} dB".format, 1),
    "bits per weight": (_average_bits, "{:.2f}".format, -1),
    "multiplications": (lambda report: report.after.macs, count, -1),
    "parameters": (lambda report: report.after.parameters, count, -1),
}
_ON_SAMPLES = {"verdict", "accuracy", "same class as float", "SQNR against float"}


def _layers(first: Report, second: Report) -> tuple[LayerChange, ...]:
    others = {layer.name: layer for layer in second.layers}
    found = [_layer(x, others[x.name]) for x in first.layers if x.name in others]
    return tuple(sorted(found, key=lambda x: -abs(x.gain or 0.0)))


def _layer(a: LayerReport, b: LayerReport) -> LayerChange:
    gain = None if a.sqnr is None or b.sqnr is None else b.sqnr - a.sqnr
    return LayerChange(a.name, (a.bits, a.sqnr), (b.bits, b.sqnr), gain)
