"""The layers of the house, as pyproject's contract has them, and as the documents show them."""

import ast
import tomllib
from pathlib import Path
from textwrap import wrap

ROOT = Path(__file__).parents[1]


def layers() -> list[list[str]]:
    """The names on each layer, from the top."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (
        contract
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    return [[name.strip(" ()") for name in layer.split("|")] for layer in contract["layers"]]


def in_short() -> str:
    """Names only, for the README: `cli → api → …`."""
    arrows = " → ".join(" | ".join(names) for names in layers())
    return "\n".join(wrap(arrows, 100))


def in_full() -> str:
    """A line for each folder or file, with what its docstring says of it."""
    lines = []
    for names in layers():
        for name in names:
            folder = ROOT / "src/tersor" / name
            file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
            doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            shown = f"{name}/" if folder.is_dir() else file.name
            beside = "" if name == names[0] else "| "
            lines.append(f"{beside + shown:17} {doc.splitlines()[0]}")
    return "\n".join(lines)
