"""Which tests may see a change to a module."""

import ast
from functools import cache
from pathlib import Path

SOURCE, TESTS = Path("src"), Path("tests")


def rings(module: Path) -> dict[str, list[Path]]:
    """Tests that may see a change to a module, the likeliest first.

    Those that lie where the module lies ("own"); those that import it ("near"); and those that lie
    where a module lies that imports it, or import that one ("far").

    Args:
        module: Its file, below `SOURCE`.
    """
    users = [user for user in sorted(SOURCE.rglob("*.py")) if _name(module) in _imported(user)]
    far = [test for user in users for test in (*_mirrored(user), *_importers(user))]
    found = {"own": _mirrored(module), "near": _importers(module), "far": far}
    seen = set[Path]()
    for ring, tests in found.items():
        found[ring] = [test for test in dict.fromkeys(tests) if test not in seen]
        seen |= set(tests)
    return found


def _mirrored(module: Path) -> list[Path]:
    inside = module.relative_to(SOURCE / "tersor")
    test = TESTS / inside.parent / f"test_{inside.name}"
    return [test] if test in _test_files() else []


def _importers(module: Path) -> list[Path]:
    return [test for test in _test_files() if _name(module) in _imported(test)]


def _name(module: Path) -> str:
    return ".".join(module.relative_to(SOURCE).with_suffix("").parts)


@cache
def _test_files() -> list[Path]:
    return sorted(TESTS.rglob("test_*.py"))


@cache
def _imported(file: Path) -> set[str]:
    """Names of modules that a file imports, and of what it imports from them."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found
