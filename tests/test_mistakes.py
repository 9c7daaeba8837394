"""Mistakes in Python are told in words, in a process where types are not checked, as for users."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tersor
from tests.mistakes import MISTAKES, X, net


@pytest.fixture(scope="module")
def said():
    """What every mistake was answered with."""
    command = [sys.executable, "-m", "tests.mistakes"]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", MISTAKES)
def test_it_says_what_to_do(said, name):
    assert re.search(MISTAKES[name][1], said[name]), said[name]


def test_what_is_no_mistake():
    """An array is as good as a tensor, and one name as good as a list of one."""
    q = tersor.quantize(net(), X[:1].numpy(), exclude="3", input_range=(0.0, 1.0))
    assert q(X).shape == (8, 5)
    assert [layer.bits for layer in q.report(None, X).layers] == [8, None]
