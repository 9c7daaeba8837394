"""Parts of plots, in Altair, which is loaded when the first plot is drawn."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tersor.report.packages import missing

HEIGHT = 220  # pixels


@runtime_checkable
class Chart(Protocol):
    """A chart of Altair, which a notebook shows by itself."""

    def save(self, fp: str | Path) -> None:
        """Write it as a picture or a page, by the name's ending."""
        ...


def chart(rows: Sequence[dict[str, Any]], title: str) -> Any:
    """A plot of some rows, as wide as the available space."""
    alt = altair()
    return alt.Chart(alt.Data(values=rows), title=title, width="container", height=HEIGHT)


def lines(rows: Sequence[dict[str, Any]], title: str) -> Any:
    """A line per series, with a point for each row."""
    return chart(rows, title).mark_line(point=True)


def place(alt: Any) -> Any:
    """The layers, in order."""
    axis = alt.Axis(labelOverlap=True, labelAngle=0)
    return alt.X("place:O", title="layer, in order", axis=axis)


def colour(alt: Any, field: str, order: list[str] | None = None) -> Any:
    """A colour per series."""
    legend = alt.Legend(orient="top", title=None)
    return alt.Color(f"{field}:N", sort=order, legend=legend)


def short(alt: Any, field: str) -> Any:
    """A number in a tooltip."""
    return alt.Tooltip(f"{field}:Q", format=".3~g")


def choice(alt: Any, names: list[str]) -> Any:
    """A list to choose a layer from; the first is selected initially."""
    return alt.param(value=names[0], bind=alt.binding_select(options=names, name="layer "))


def altair() -> Any:
    """Import the package that draws the plots.

    Raises:
        UnsupportedError: The package is not installed.
    """
    try:
        import altair as alt
    except ImportError as error:
        raise missing() from error
    return alt


@contextmanager
def unchecked() -> Iterator[None]:
    """Build charts without comparing each part with the schema of Vega-Lite, which takes seconds.

    Raises:
        UnsupportedError: The package is not installed.
    """
    altair()
    from altair.utils import schemapi

    with schemapi.debug_mode(False):
        yield
