"""A network, or a table of results, in one line of text or a few lines of HTML, for notebooks."""

from collections.abc import Iterable, Sequence
from html import escape

from tersor.graph.costs import Cost, costs, total
from tersor.graph.describe import describe
from tersor.graph.layers import layers
from tersor.graph.network import Network

_MOST = 100  # rows


def line(network: Network) -> str:
    """`Network(50 layers, 4,651,680 parameters, 390 records)`.

    Args:
        network: The network.
    """
    found = {layer.weight_node: layer for layer in layers(network)}
    parameters = sum(network.tensor(x).numel() for x in found if x.op == "get_attr")
    counts = f"{len(found)} layers, {parameters:,} weights, {len(network.records)} records"
    return f"Network({counts})"


def rows(network: Network) -> list[tuple[str, str]]:
    """What a network is, as names and values.

    Args:
        network: The network.
    """
    cost: Cost = total(costs(network).values())
    return [
        ("layers", str(sum(1 for _ in layers(network)))),
        ("MACs", f"{cost.macs:,}"),
        ("parameters", f"{cost.parameters:,}"),
        ("records", str(len(network.records))),
    ]


def layers_html(network: Network) -> str:
    """The layers as a table.

    Args:
        network: The network.
    """
    found = describe(network)
    cells = [
        (x.name, x.kind, "×".join(map(str, x.weight)), f"{x.macs:,}", f"{x.low:.2g}…{x.high:.2g}")
        for x in found[:_MOST]
    ]
    if len(found) > _MOST:
        cells.append((f"and {len(found) - _MOST} more", "", "", "", ""))
    return table(cells, ("layer", "kind", "weight", "MACs", "range"))


def table(cells: Iterable[Sequence[str]], heads: Sequence[str] = ()) -> str:
    """A plain table, in the style of whoever shows it.

    Args:
        cells: Its rows; the first cell of each names it.
        heads: Names of the columns.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{_row(row)}</tr>" for row in cells)
    return (
        f"<table>{f'<thead><tr>{head}</tr></thead>' if heads else ''}<tbody>{body}</tbody></table>"
    )


def _row(row: Sequence[str]) -> str:
    first, *rest = map(escape, row)
    return f"<th>{first}</th>" + "".join(f"<td>{cell}</td>" for cell in rest)
