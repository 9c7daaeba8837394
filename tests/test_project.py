"""The project's own rules: style, types and layering, as pre-commit runs them."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent

CHECKS = {
    "ruff-check": [BIN / "ruff", "check", "."],
    "ruff-format": [BIN / "ruff", "format", "--check", "."],
    "lint-imports": [BIN / "lint-imports", "--no-cache"],
    "pyright": [BIN / "pyright", "--pythonpath", sys.executable],
}


@pytest.mark.parametrize("command", CHECKS.values(), ids=CHECKS.keys())
def test_check_passes(command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr


def test_ci_runs_the_command_of_the_readme():
    command = 'pip install torch==2.13.0 -e ".[dev]" && python -m pytest -n auto'
    assert command in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")


#: Options stand in a file beside what they are of; `api/verify.py` is the verb that
#: `export/proof/verify.py` carries out.
SHARED_NAMES = {"__init__.py", "options.py", "verify.py"}


def test_a_name_of_a_file_stands_for_one_thing():
    counts = Counter(path.name for path in (ROOT / "src").rglob("*.py"))
    assert {name for name, count in counts.items() if count > 1} <= SHARED_NAMES
