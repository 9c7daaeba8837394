"""Runs one recipe in its environment, and says what it cost."""

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.recipe import Recipe

_INSIDE = Path(__file__).with_name("inside.py")
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Run:
    """One run of one recipe.

    Attributes:
        seconds: CPU seconds of the whole process.
        peak: MB, likewise.
        said: The last line of its error; empty if it wrote a file.
    """

    seconds: float = math.nan
    peak: float = math.nan
    said: str = ""


def run(recipe: Recipe, python: str, model: str, samples: Path, result: Path) -> Run:
    """Run a recipe once, on one thread where the tool lets one choose.

    Args:
        recipe: What to run.
        python: The interpreter of its environment.
        model: The float file, or the name of the network.
        samples: An .npz file with one array for each input.
        result: Where its file goes.
    """
    report = result.with_suffix(".json")
    report.unlink(missing_ok=True)
    result.unlink(missing_ok=True)
    ended = subprocess.run(  # noqa: S603
        [python, str(_INSIDE), *map(str, (recipe.path, report, model, samples, result))],
        env=_surroundings(recipe),
        cwd=result.parent,  # some leave files where they run
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode or not result.is_file():
        return Run(said=(ended.stderr.strip().splitlines() or ["it wrote nothing"])[-1])
    return Run(**json.loads(report.read_text()))


def _surroundings(recipe: Recipe) -> dict[str, str]:
    paths = [] if recipe.packages else list(filter(None, sys.path))
    if recipe.takes == "module":
        paths.append(str(_ROOT))
    own = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **own}
