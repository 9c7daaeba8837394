"""Run tests in a process whose module is a changed one; the file on disk stays as it is."""

import ast
import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from hypothesis import Phase, settings

PASSED, FAILED, SLOW = "passed", "failed", "slow"
_OPTIONS = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts="]
_OPTIONS += ["--import-mode=importlib", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


def trial(tests: Sequence[Path], seconds: float, module: str = "", tree: Any = None) -> str:
    """Run tests in a process of its own; says whether all of them passed.

    Args:
        tests: Files of tests.
        seconds: How long they may take.
        module: The module that is changed, if any.
        tree: Its changed syntax tree.
    """
    child = os.fork()
    if child == 0:
        os._exit(_run(tests, module, tree))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return PASSED if status == 0 else FAILED
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return SLOW


def _run(tests: Sequence[Path], module: str, tree: ast.Module | None) -> int:
    os.setpgid(0, 0)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    if tree is not None:
        sys.meta_path.insert(0, Changed(module, tree))
    try:
        return int(pytest.main([*_OPTIONS, *map(str, tests)], plugins=[_SameExamples()]))
    except BaseException:  # noqa: BLE001
        return 1


class _SameExamples:
    """The same examples each time, none of them made smaller, none remembered."""

    def pytest_collection(self) -> None:
        phases = (Phase.explicit, Phase.generate)
        same = settings(phases=phases, database=None, derandomize=True, deadline=None)
        settings.register_profile("mutants", same)
        settings.load_profile("mutants")


class Changed(MetaPathFinder):
    """Finds one module, with other code."""

    def __init__(self, name: str, tree: ast.Module) -> None:
        self.name, self.tree = name, tree

    def find_spec(self, fullname: str, path: Any, _: Any = None) -> ModuleSpec | None:
        """Find the module, if it is the one."""
        if fullname != self.name:
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec
        assert spec.origin
        spec.loader = _Loader(fullname, spec.origin, compile(self.tree, spec.origin, "exec"))
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self.code = code

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        return self.code
