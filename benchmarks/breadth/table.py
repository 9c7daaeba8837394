"""The results as markdown: a summary, every failure, and a row for each architecture."""

from typing import Any

from benchmarks.breadth.results import Results, Row, agrees, passed
from benchmarks.harness.machine import describe

LIBRARIES = ("torchvision", "timm", "transformers")


def print_table(results: Results, summary_only: bool) -> None:
    """Print the machine, the summary, the failures and, unless told not to, every row."""
    print(f"\n{describe()}\n")
    _print(
        "library",
        "tried",
        "passed",
        "agree",
        "median SQNR dB",
        "integer kernels %",
        rows=[_summary(library, list(results.of(library))) for library in LIBRARIES],
    )
    rows = [row for library in LIBRARIES for row in results.of(library)]
    failed = [row for row in rows if not passed(row)]
    weak = [row for row in rows if passed(row) and not agrees(row)]
    _print(
        "library",
        "failed",
        "step",
        "reason",
        rows=[(row["library"], row["name"], row["stage"], _plain(row["reason"])) for row in failed],
    )
    _print(
        "library",
        "runtime differs",
        "SQNR dB",
        "exact session",
        "float64",
        rows=[
            (row["library"], row["name"], *_decibels(row, "sqnr", "sqnr_exact", "ceiling"))
            for row in weak
        ],
    )
    if not summary_only:
        _print(
            "library",
            "architecture",
            "M parameters",
            "passed",
            "SQNR dB",
            "exact session",
            "float64",
            "against float",
            "integer layers",
            "s",
            rows=[_row(row) for row in rows],
        )


def _summary(library: str, rows: list[Row]) -> tuple[Any, ...]:
    ran = [row for row in rows if passed(row)]
    median = sorted(row["sqnr"] for row in ran)[len(ran) // 2] if ran else 0.0
    layers = sum(row["layers"] for row in ran)
    share = 100 * sum(row["integer"] for row in ran) / max(layers, 1)
    agreed = sum(map(agrees, rows))
    return library, len(rows), len(ran), agreed, f"{median:.1f}", f"{share:.1f}"


def _row(row: Row) -> tuple[Any, ...]:
    size = f"{row.get('parameters', 0) / 1e6:.2f}"
    figures = _decibels(row, "sqnr", "sqnr_exact", "ceiling", "sqnr_float")
    layers = f"{row.get('integer', 0)} of {row.get('layers', 0)}" if passed(row) else "–"
    seconds = f"{row.get('seconds', 0):.0f}"
    return row["library"], row["name"], size, _mark(row), *figures, layers, seconds


def _mark(row: Row) -> str:
    return "yes" if passed(row) else f"no: {row['stage']}"


def _decibels(row: Row, *keys: str) -> list[str]:
    return ["–" if row.get(key) is None else f"{row[key]:.1f}" for key in keys]


def _plain(text: str) -> str:
    return text.replace("|", "\\|")[:200]


def _print(*titles: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        print(f"| {' | '.join(titles)} |\n|{' --- |' * len(titles)}")
        print("\n".join(f"| {' | '.join(map(str, row))} |" for row in rows), end="\n\n")
