"""A report as one self-contained HTML page: no server, no network, no other file."""

import json
from functools import cache
from typing import Any

from tersor.report import numbers
from tersor.report.charts import unchecked
from tersor.report.contents import Report
from tersor.report.drawing import draw
from tersor.report.headline import sentence, tiles
from tersor.report.packages import codec, missing
from tersor.report.plots import plots


def page(report: Report) -> str:
    """Build the page.

    Args:
        report: The report.

    Raises:
        UnsupportedError: The packages for it are not installed.
    """
    with unchecked():
        charts = {name: chart.to_dict(validate=False) for name, chart in plots(report).items()}
    titles = {name: chart.pop("title") for name, chart in charts.items()}
    worst = sorted((x for x in report.layers if x.own is not None), key=lambda x: x.own or 0.0)
    return render(
        "report.html",
        report=report,
        sentence=sentence(report),
        tiles=tiles(report),
        titles=titles,
        chart_data=as_script(charts),
        report_data=codec().json.encode(report).decode().replace("<", "\\u003c"),
        drawing=draw(report.cells),
        worst=[layer.name for layer in worst[:_WORST]],
        columns=_columns(report),
        captions=_CAPTIONS,
    )


def _columns(report: Report) -> list[tuple[str, str, str]]:
    """The name, explanation and kind of each column of the table."""
    rounded = report.kind == "quantized"
    columns = [
        ("layer", "in the order of the network", "text", True),
        ("kind", "kind of the layer", "text", True),
        ("weight", "shape of the weight", "text", True),
        ("output", "shape of the output of one sample", "text", True),
        ("MACs", "multiply-accumulates for one sample", "", True),
        ("W bits", "bits of the weights", "", rounded),
        ("x bits", "bits of the layer's input", "", rounded),
        ("range", "smallest and largest weight", "", True),
        ("W dB", "SQNR of the weights", "", rounded),
        ("alone dB", "SQNR of the output with only this layer quantized", "", rounded),
        ("so far dB", "SQNR of the output with everything up to it quantized", "", True),
        ("error", "the error that was minimized, before and after", "", True),
    ]
    return [(name, title, kind) for name, title, kind, is_shown in columns if is_shown]


_WORST = 5
_CAPTIONS = {
    "error": "Where the error comes from: if the line of a layer alone dips, the layer itself "
    "causes it. The other line is the accumulated error.",
    "sensitivity": "Layers with high values need their bits most.",
    "training": "The loss during training.",
    "curve": "One network at several budgets; a good choice is just before the curve drops.",
    "left": "The cost of every layer, before and after.",
    "ranges": "From the smallest to the largest channel, without dead ones. One scale for a whole "
    "layer suits short bars; with a scale per channel, equalization evens out activations instead.",
    "channels": "Layers whose channels were rescaled.",
    "weights": "Dashed lines show the grid, or its ends. Layers with the lowest SQNR come first.",
    "inputs": "Values beyond the dashed ends are clipped; a grid far wider than the values wastes "
    "its steps.",
}


def render(template: str, **content: Any) -> str:
    """Fill in a template, with the scripts of the page.

    Args:
        template: The file of the template.
        content: The values to fill in.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tersor.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(numbers, name) for name in _FILTERS}
    return environment.get_template(template).render(vega=vega(), **content)


_FILTERS = ("shape", "count", "megabytes", "milliseconds", "percent", "decibels")


def as_script(data: Any) -> str:
    """Write data as JSON that is safe inside a script element.

    Args:
        data: Plain data.
    """
    return json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


_SNIPPET = "window.vegaEmbed = vegaEmbed;"


@cache
def vega() -> str:
    """Vega-Embed with everything that it needs to show the plots."""
    try:
        import vl_convert
    except ImportError as error:
        raise missing() from error
    return vl_convert.javascript_bundle(_SNIPPET).replace("</script", "<\\/script")
