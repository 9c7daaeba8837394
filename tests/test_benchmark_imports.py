"""Every benchmark can be imported: what it names exists, though nothing here runs it whole."""

from importlib import import_module
from pkgutil import walk_packages

import pytest

import benchmarks

_MODULES = [module.name for module in walk_packages(benchmarks.__path__, "benchmarks.")]


# torch's own helper for folding still uses what torch deprecates.
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", [name for name in _MODULES if not name.endswith("__main__")])
def test_benchmark_can_be_imported(name):
    try:
        import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.split(".")[0] in {"tersor", "benchmarks"}:
            raise
        pytest.skip(f"needs {missing.name}")
