"""Command-line arguments, the same in every script."""

import argparse
from pathlib import Path

from benchmarks.zoo import MODELS


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--models`, `--limit`, `--threads` and `--json`.

    Args:
        description: The docstring of the script.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    published = [name for name, model in MODELS.items() if not model.own]
    parser.add_argument(
        "--models",
        nargs="+",
        choices=MODELS,
        default=published,
        metavar="NAME",
        help=f"of {', '.join(MODELS)}; default: the published ones, {', '.join(published)}",
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="only N images, evenly spread, for a quick look"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads of onnxruntime; default: its own choice"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    return parser
