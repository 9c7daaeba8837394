"""Builds tables for people from plain rows."""

from collections.abc import Iterable, Sequence
from io import StringIO

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from tersor.report.plain_text import plain_text

_PLAIN_WIDTH = 100
_NAMES_SHOWN = 4
_PRE = '<pre style="line-height:1.2;overflow-x:auto">{code}</pre>'


def plain(table: RenderableType) -> str:
    """Convert a table to text without colours, 100 columns wide, for files and `print`."""
    console = Console(file=StringIO(), width=_PLAIN_WIDTH, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines())


def html(shown: RenderableType) -> str:
    """Convert a table to HTML, for notebooks.

    Args:
        shown: The table, or several.
    """
    console = Console(file=StringIO(), width=_PLAIN_WIDTH, record=True, force_jupyter=False)
    console.print(shown)
    return console.export_html(inline_styles=True, code_format=_PRE)


def pairs_table(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """Two columns: name and value."""
    table = _table(title)
    table.show_header = False
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    return _filled(table, rows)


def steps_table(rows: Iterable[tuple[str, int, int, str]]) -> Table:
    """What each step did: name, times done, times refused, and what it did."""
    table = _table("What was done")
    table.add_column("step", style="bold", no_wrap=True)
    table.add_column("done", justify="right")
    table.add_column("refused", justify="right")
    table.add_column("what")
    return _filled(table, rows)


def refused_table(rows: Iterable[tuple[str, str, Sequence[str]]]) -> Table:
    """What could not be done: step, reason, and where."""
    table = _table("What could not be done, and why")
    table.add_column("step", style="bold", no_wrap=True)
    table.add_column("reason")
    table.add_column("where")
    return _filled(table, ((step, reason, _names(where)) for step, reason, where in rows))


def layers_table(rows: Iterable[Sequence[str]]) -> Table:
    """One row per layer."""
    table = _table("Layers")
    table.add_column("layer", style="bold", no_wrap=True)
    for name in ("kind", "weight", "output"):
        table.add_column(name, overflow="fold")  # so that names, which users type, stay whole
    for name in ("MACs", "params", "weight range", "imbalance", "equalized"):
        table.add_column(name, justify="right", overflow="fold")
    return _filled(table, rows)


def checks_table(rows: Iterable[tuple[str, str, str]]) -> Table:
    """What was compared with the float network, how close it is, and whether that is enough."""
    table = _table("Against the float network")
    table.add_column("what", style="bold")
    table.add_column("outputs", justify="right", no_wrap=True)
    table.add_column("")
    return _filled(table, rows)


def culprits_table(rows: Iterable[tuple[str, str, str, str]], total: int) -> Table:
    """The effect of each quantizer alone: layer, what it rounds, the outputs, and why."""
    table = _table(f"One of {total} quantizers alone, the worst first")
    table.add_column("layer", style="bold")
    table.add_column("rounds", no_wrap=True)
    table.add_column("outputs", justify="right", no_wrap=True)
    table.add_column("why")
    return _filled(table, rows)


def bits_table(choices: Sequence[int], rows: Iterable[Sequence[str]]) -> Table:
    """One row per layer: its weights, the bits that they get, and the damage at each choice."""
    table = _table("Bits of the weights")
    table.add_column("layer", style="bold", no_wrap=True)
    for name in ("weights", "bits", *(f"damage at {bits}" for bits in choices)):
        table.add_column(name, justify="right", no_wrap=True)
    return _filled(table, rows)


def budgets_table(rows: Iterable[Sequence[str]]) -> Table:
    """One row per budget of a curve: what is left of the network, and its accuracy."""
    table = _table("What is left at each budget")
    for name in ("MACs", "parameters", "size", "outputs", "score", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    return _filled(table, rows)


def compared_table(
    title: str, names: tuple[str, str], rows: Iterable[tuple[str, str, str]]
) -> Table:
    """Three columns: a name, and its value in two cases."""
    table = _table(title)
    table.add_column(style="bold", no_wrap=True)
    for name in names:
        table.add_column(plain_text(name), justify="right")
    return _filled(table, rows)


def _table(title: str) -> Table:
    return Table(
        title=plain_text(title),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )


def _filled(table: Table, rows: Iterable[Sequence[object]]) -> Table:
    for row in rows:
        table.add_row(*(Text(plain_text(cell)) for cell in row))
    return table


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
