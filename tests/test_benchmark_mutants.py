"""Changes to the code: what they are, which tests are asked, and that the file stays as it is."""

import ast
import sys
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.mutants.changes import change, changes
from benchmarks.mutants.tests_of import rings
from benchmarks.mutants.trial import Changed

SOURCE = '''
def f(x: int | None = 1, *, keep=True) -> float:
    """Not 1."""
    if x < 2 and not keep:
        raise ValueError(f"{x + 1}")
    total[0] = max(x, 3) / 4
    total.sort()
    return torch.sqrt(x).abs()
'''


def made(source):
    return {
        (found.before.split("\n")[0], found.after.split("\n")[0])
        for found in (change(source, *spot) for spot in changes(source))
    }


def test_one_thing_is_changed_at_a_time():
    assert made(SOURCE) == {
        ("1", "2"),
        ("True", "False"),
        ("if x < 2 and (not keep):", "if not (x < 2 and (not keep)):"),
        ("x < 2 and (not keep)", "x < 2 or not keep"),
        ("x < 2 and (not keep)", "x < 2"),
        ("x < 2 and (not keep)", "not keep"),
        ("x < 2", "x <= 2"),
        ("x < 2", "x > 2"),
        ("2", "3"),
        ("not keep", "keep"),
        ("total[0] = max(x, 3) / 4", "pass"),
        ("max(x, 3) / 4", "max(x, 3) * 4"),
        ("max(x, 3)", "max(3, x)"),
        ("max(x, 3)", "min(x, 3)"),
        ("3", "4"),
        ("4", "5"),
        ("0", "1"),
        ("total.sort()", "pass"),
        ("torch.sqrt(x).abs()", "torch.sqrt(x)"),
        ("torch.sqrt(x)", "x"),
    }


@pytest.mark.parametrize("spot", changes(SOURCE), ids=str)
def test_the_rest_stays_as_it_is(spot):
    lines = ast.unparse(ast.parse(SOURCE)).splitlines()
    found = ast.unparse(change(SOURCE, *spot).tree).splitlines()
    assert len(found) == len(lines)
    assert sum(a != b for a, b in zip(lines, found, strict=True)) == 1


def test_the_likeliest_tests_come_first():
    found = rings(Path("src/tersor/core/knapsack.py"))
    assert found["own"] == [Path("tests/core/test_knapsack.py")]
    assert Path("tests/compression/test_plan.py") in found["far"]
    assert not set(found["far"]) & {*found["own"], *found["near"]}


def test_a_module_is_found_changed(tmp_path, monkeypatch):
    file = tmp_path / "some_module_of_tests.py"
    file.write_text("value = 1 + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    spot = changes(file.read_text())[0]
    finder = Changed(file.stem, change(file.read_text(), *spot).tree)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    assert import_module(file.stem).value == 0
    del sys.modules[file.stem]
    assert file.read_text() == "value = 1 + 1\n"
