"""Environments of their own for other people's packages, made once."""

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.table import progress

#: Where they are kept from one run to the next.
KEPT = Path.home() / ".cache" / "tersor" / "peers"


def environment(folder: Path, packages: Sequence[str]) -> str:
    """Make an environment, unless it is there; returns its interpreter.

    Args:
        folder: Its folder.
        packages: Names and versions, such as `nncf==3.4.0`.
    """
    python, done = folder / "bin" / "python", folder / "installed"
    wanted = "\n".join(packages)
    if not done.is_file() or done.read_text(encoding="utf-8") != wanted:
        progress("make an environment for", *packages)
        venv.create(folder, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", *packages]
        subprocess.run(install, check=True, stdout=sys.stderr)  # noqa: S603
        done.write_text(wanted, encoding="utf-8")
    return str(python)
