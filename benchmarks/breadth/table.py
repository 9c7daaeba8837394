"""The results as markdown: a summary, every failure, and a row for each architecture."""

from typing import Any

from benchmarks.breadth.results import DOUBLE, ENOUGH, Results, Row, agrees, passed
from tersor.export.sessions.machine import doctor

LIBRARIES = ("torchvision", "timm", "transformers")
_SUMMARY = (
    "library",
    "tried",
    "passed",
    "SQNR ≥ 30 dB",
    "or as exact kernels",
    "or as float64",
    "median sample ≥ 30 dB",
    "integer layers %",
    "CPU s",
)
#: Key of a figure in dB → title.
_DECIBELS = {
    "sqnr": "SQNR dB",
    "median": "median sample",
    "sqnr_exact": "exact session",
    "ceiling": "float64",
    "sqnr_float": "against float",
}


def print_table(results: Results, summary_only: bool) -> None:
    """Print the machine, the summary, the failures and, unless told not to, every row."""
    print(f"\n{doctor()!s}\n")
    rows = [row for library in LIBRARIES for row in results.of(library)]
    groups = [(name, list(results.of(name))) for name in LIBRARIES] + [("all", rows)]
    _print(_SUMMARY, [_summary(name, group) for name, group in groups])
    failed = [row for row in rows if not passed(row)]
    _print(
        ("library", "failed", "step", "reason"),
        [(row["library"], row["name"], row["stage"], _plain(row["reason"])) for row in failed],
    )
    differing = [row for row in rows if passed(row) and not (agrees(row) and agrees(row, DOUBLE))]
    _print(
        ("library", "runtime differs, or constant", "spread", *_DECIBELS.values()),
        [
            (row["library"], row["name"], f"{row['spread']:.0e}", *_decibels(row))
            for row in differing
        ],
    )
    if not summary_only:
        columns = ("library", "architecture", "M parameters", "passed", *_DECIBELS.values())
        _print((*columns, "integer layers", "CPU s"), [_row(row) for row in rows])


def _summary(library: str, rows: list[Row]) -> tuple[Any, ...]:
    ran = [row for row in rows if passed(row)]
    near = sum(row["sqnr"] >= ENOUGH for row in ran)
    typical = sum(row["median"] >= ENOUGH for row in ran)
    layers = sum(row["layers"] for row in ran)
    share = 100 * sum(row["integer"] for row in ran) / max(layers, 1)
    seconds = sum(row.get("seconds", 0) for row in rows)
    agreeing = sum(map(agrees, rows)), sum(agrees(row, DOUBLE) for row in rows)
    return library, len(rows), len(ran), near, *agreeing, typical, f"{share:.1f}", f"{seconds:.0f}"


def _row(row: Row) -> tuple[Any, ...]:
    size = f"{row.get('parameters', 0) / 1e6:.2f}"
    layers = f"{row.get('integer', 0)} of {row.get('layers', 0)}" if passed(row) else "–"
    seconds = f"{row.get('seconds', 0):.0f}"
    return row["library"], row["name"], size, _mark(row), *_decibels(row), layers, seconds


def _mark(row: Row) -> str:
    return "yes" if passed(row) else f"no: {row['stage']}"


def _decibels(row: Row) -> list[str]:
    return ["–" if row.get(key) is None else f"{row[key]:.1f}" for key in _DECIBELS]


def _plain(text: str) -> str:
    return text.replace("|", "\\|")[:200]


def _print(titles: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    if rows:
        print(f"| {' | '.join(titles)} |\n|{' --- |' * len(titles)}")
        print("\n".join(f"| {' | '.join(map(str, row))} |" for row in rows), end="\n\n")
