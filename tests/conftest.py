"""Settings for all tests."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread each, before torch counts them
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from functools import cache

import pytest
from hypothesis import settings
from torch.onnx._internal.exporter import _registration

# Timing says nothing on a shared machine. CI draws the same examples at every run.
settings.register_profile("tersor", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("tersor")


@pytest.fixture(scope="session", autouse=True)
def translations_are_read_once():
    """At every export torch.onnx parses the sources of its 500 translations: half of the time."""
    apis = _registration.onnxscript_apis
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apis, "get_torchlib_ops", cache(apis.get_torchlib_ops))
        yield


def pytest_terminal_summary(terminalreporter):
    """Say aloud that no page was looked at."""
    skipped = terminalreporter.stats.get("skipped", [])
    if any("Chromium" in str(report.longrepr) for report in skipped):
        terminalreporter.section("PAGES WERE NOT OPENED IN A BROWSER", yellow=True, bold=True)
        terminalreporter.line("Install Chromium to test reports: apt-get install chromium-driver")
