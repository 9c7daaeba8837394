"""Writes a plain HTML table, as which notebooks display a result."""

from collections.abc import Iterable, Sequence
from html import escape


def table(cells: Iterable[Sequence[str]], heads: Sequence[str] = ()) -> str:
    """Write a plain table in the style of the viewer.

    Args:
        cells: The rows; the first cell of each is its heading.
        heads: The headings of the columns.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{_row(row)}</tr>" for row in cells)
    return (
        f"<table>{f'<thead><tr>{head}</tr></thead>' if heads else ''}<tbody>{body}</tbody></table>"
    )


def _row(row: Sequence[str]) -> str:
    first, *rest = map(escape, row)
    return f"<th>{first}</th>" + "".join(f"<td>{cell}</td>" for cell in rest)
