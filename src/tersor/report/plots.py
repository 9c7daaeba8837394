"""The plots of a report: Altair charts, made only from the report's data.

A notebook displays them by itself, and `chart.save("plot.svg")` writes them. Colours adapt to the
viewer, so that a page may be light or dark.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tersor.report.charts import HEIGHT, Chart, altair, chart, choice, colour, lines, place, short
from tersor.report.contents import Budget, GridHistogram, LayerReport, Report

_SEVERAL = 2
_DEAD = 1000  # a channel so many times smaller than the largest counts as dead
_FEW_LEVELS = 16  # up to this number, each level is drawn
_LAYER = "layer"


def plots(report: Report) -> dict[str, Any]:
    """Draw every plot for which there are data, by name, as Altair charts.

    Args:
        report: The report.

    Raises:
        UnsupportedError: Altair is not installed.
    """
    found = {name: draw(report) for name, draw in _PLOTS.items()}
    return {name: plot for name, plot in found.items() if plot is not None}


def error(report: Report) -> Any:
    """SQNR of every layer: of the accumulated error, and of the error of the layer itself."""
    rows = [
        {"place": number, _LAYER: layer.name, "dB": value, "error": what}
        for number, layer in enumerate(report.layers, 1)
        for what, value in (("added up so far", layer.sqnr), ("of this layer alone", layer.own))
        if value is not None
    ]
    if len(rows) < _SEVERAL:
        return None
    alt = altair()
    return lines(rows, "SQNR of the layers: higher is better").encode(
        x=place(alt),
        y=alt.Y("dB:Q", title="SQNR (dB)", scale=alt.Scale(zero=False)),
        color=colour(alt, "error"),
        tooltip=[f"{_LAYER}:N", "error:N", alt.Tooltip("dB:Q", format=".1f")],
    )


def ranges(report: Report) -> Any:
    """Smallest to largest channel range of every layer, before and after equalization."""
    is_equalized = any(layer.before != layer.after for layer in report.layers)

    def ends(layer: LayerReport) -> list[tuple[str, tuple[float, ...]]]:
        both = [("before", layer.before), ("after", layer.after)]
        return both if is_equalized else [("not equalized", layer.before)]

    rows = [
        {"place": number, _LAYER: layer.name, "when": when, "low": low, "high": max(found)}
        for number, layer in enumerate(report.layers, 1)
        for when, found in ends(layer)
        if found and (low := min(x for x in found if x >= max(found) / _DEAD)) > 0
    ]
    if report.kind != "quantized" or not rows:
        return None
    alt = altair()
    return (
        chart(rows, "Ranges of the output channels")
        .mark_bar()
        .encode(
            x=place(alt),
            xOffset=alt.XOffset("when:N", sort=["before", "after"]),
            y=alt.Y("low:Q", title="largest |W| of a channel", scale=alt.Scale(type="log")),
            y2="high:Q",
            color=colour(alt, "when", ["before", "after"]),
            tooltip=[f"{_LAYER}:N", "when:N", short(alt, "low"), short(alt, "high")],
        )
    )


def channels(report: Report) -> Any:
    """Channel ranges of a selected layer, before and after equalization."""
    rows = [
        {
            _LAYER: layer.name,
            "channel": number / max(1, len(found) - 1),
            "range": value,
            "when": when,
        }
        for layer in report.layers
        if layer.before != layer.after and layer.after
        for when, found in (("before", layer.before), ("after", layer.after))
        for number, value in enumerate(found)
        if value > max(found) / _DEAD
    ]
    if report.kind != "quantized" or not rows:
        return None
    alt = altair()
    chosen = choice(alt, list(dict.fromkeys(row[_LAYER] for row in rows)))
    return (
        chart(rows, "Channels of a layer, sorted by range")
        .mark_line(point=True)
        .encode(
            x=alt.X("channel:Q", title="channels, from the smallest to the largest").axis(
                format="%"
            ),
            y=alt.Y("range:Q", title="largest |W|", scale=alt.Scale(type="log")),
            color=colour(alt, "when", ["before", "after"]),
            tooltip=["when:N", short(alt, "range")],
        )
        .add_params(chosen)
        .transform_filter(alt.datum[_LAYER] == chosen)
    )


def weights(report: Report) -> Any:
    """Weights of a selected layer, in steps of their channel, and the ends of the grid."""
    return _histograms(report, lambda layer: layer.weights, "Weights, in steps of their channel")


def inputs(report: Report) -> Any:
    """Inputs of a selected layer, and the grid that they are rounded to."""
    return _histograms(report, lambda layer: layer.inputs, "Inputs of a layer")


def sensitivity(report: Report) -> Any:
    """Damage to the outputs if only one layer has few bits."""
    rows = [
        {"place": number, _LAYER: each.layer, "bits": f"{bits} bits", "damage": damage}
        for number, each in enumerate(report.sensitivity, 1)
        for bits, damage in each.damage.items()
        if damage is not None and damage > 0
    ]
    if not rows:
        return None
    alt = altair()
    return (
        chart(rows, "Damage to the outputs if only one layer is rounded")
        .mark_line(point=True)
        .encode(
            x=place(alt),
            y=alt.Y("damage:Q", title="noise over signal", scale=alt.Scale(type="log")),
            color=colour(alt, "bits"),
            tooltip=[f"{_LAYER}:N", "bits:N", short(alt, "damage")],
        )
    )


def training(report: Report) -> Any:
    """The loss of a training run, step by step."""
    rows = [vars(line) for line in report.training]
    if len(rows) < _SEVERAL:
        return None
    alt = altair()
    return (
        chart(rows, "Training")
        .mark_line(point=len(rows) <= _FEW_LEVELS)
        .encode(
            x=alt.X("step:Q"),
            y=alt.Y("loss:Q", scale=alt.Scale(zero=False)),
            tooltip=["step:Q", short(alt, "loss"), short(alt, "rate"), short(alt, "frozen")],
        )
    )


def left(report: Report) -> Any:
    """Multiplications of every layer, before and after compression."""
    rows = [
        {"place": number, _LAYER: each.name, "when": when, "MACs": cost.macs}
        for number, each in enumerate(report.left, 1)
        for when, cost in (("before", each.before), ("after", each.after))
    ]
    if not rows:
        return None
    alt = altair()
    return (
        chart(rows, "Multiplications of the layers")
        .mark_bar()
        .encode(
            x=place(alt),
            xOffset=alt.XOffset("when:N", sort=["before", "after"]),
            y=alt.Y("MACs:Q", axis=alt.Axis(format="~s")),
            color=colour(alt, "when", ["before", "after"]),
            tooltip=[f"{_LAYER}:N", "when:N", alt.Tooltip("MACs:Q", format=",")],
        )
    )


def curve(budgets: Sequence[Budget]) -> Chart | None:
    """SQNR, or the score if there is one, against the remaining multiplications.

    Args:
        budgets: The network at several budgets.
    """
    if len(budgets) < _SEVERAL:
        return None
    alt = altair()
    what = "score" if all(each.score is not None for each in budgets) else "sqnr"
    rows = [vars(each) for each in budgets]
    tips = ["score:Q", *(short(alt, name) for name in ("macs", "sqnr", "latency"))]
    return lines(rows, "What the next multiplication costs").encode(
        x=alt.X("macs:Q", title="multiplications left", axis=alt.Axis(format="%")),
        y=alt.Y(f"{what}:Q", title=_WHAT[what], scale=alt.Scale(zero=False)),
        tooltip=tips,
    )


_WHAT = {"score": "score", "sqnr": "SQNR of the outputs (dB)"}


def two_errors(
    names: tuple[str, str], layers: Mapping[str, tuple[int, float | None, float | None]]
) -> Any:
    """SQNR of the layers of two reports, in the order of the first.

    Args:
        names: What the reports are called.
        layers: Name of a layer → its place, and its SQNR in either report.
    """
    rows = [
        {"place": number, _LAYER: layer, "dB": sqnr, "report": name}
        for layer, (number, *ends) in layers.items()
        for name, sqnr in zip(names, ends, strict=True)
        if sqnr is not None
    ]
    if len(rows) < _SEVERAL:
        return None
    alt = altair()
    return lines(rows, "SQNR of the layers: higher is better").encode(
        x=place(alt),
        y=alt.Y("dB:Q", title="SQNR (dB)", scale=alt.Scale(zero=False)),
        color=colour(alt, "report", list(names)),
        tooltip=[f"{_LAYER}:N", "report:N", alt.Tooltip("dB:Q", format=".1f")],
    )


_PLOTS: dict[str, Callable[[Report], Any]] = {
    "error": error,
    "sensitivity": sensitivity,
    "training": training,
    "left": left,
    "curve": lambda report: curve(report.curve),
    "ranges": ranges,
    "weights": weights,
    "inputs": inputs,
    "channels": channels,
}


def _histograms(
    report: Report, of: Callable[[LayerReport], GridHistogram | None], title: str
) -> Any:
    shown = [(layer.name, x) for layer in _worst_first(report) if (x := of(layer)) is not None]
    if not shown:
        return None
    alt = altair()
    chosen = choice(alt, [name for name, _ in shown])
    bins = [
        {_LAYER: name, "from": x.start + i * x.width, "to": x.start + (i + 1) * x.width, "share": y}
        for name, x in shown
        for i, y in enumerate(x.shares)
    ]
    rules = [{_LAYER: name, "value": value} for name, x in shown for value in _drawn(x)]
    bars = (
        alt.Chart(alt.Data(values=bins))
        .mark_bar(binSpacing=0)
        .encode(
            x=alt.X("from:Q", title=None, scale=alt.Scale(zero=False, nice=False)),
            x2="to:Q",
            y=alt.Y("share:Q", title="share of the values", axis=alt.Axis(format="%")),
            y2=alt.datum(0),
            tooltip=[short(alt, "from"), short(alt, "to"), alt.Tooltip("share:Q", format=".2%")],
        )
    )
    grid = (
        alt.Chart(alt.Data(values=rules))
        .mark_rule(strokeDash=[3, 2])
        .encode(x="value:Q", tooltip=[short(alt, "value")])
    )
    both = alt.layer(*(part.transform_filter(alt.datum[_LAYER] == chosen) for part in (bars, grid)))
    return both.add_params(chosen).properties(title=title, width="container", height=HEIGHT)


def _drawn(found: GridHistogram) -> list[float]:
    """The lines to draw: every value of a coarse grid, the ends of a fine one."""
    if found.levels > _FEW_LEVELS:
        return [found.low, found.high]
    step = (found.high - found.low) / (found.levels - 1)
    return [found.low + i * step for i in range(found.levels)]


def _worst_first(report: Report) -> list[LayerReport]:
    return sorted(report.layers, key=lambda layer: 1e9 if layer.own is None else layer.own)
