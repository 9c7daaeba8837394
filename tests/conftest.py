"""Settings for all tests."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread each, before torch counts them
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import gc

import pytest
from hypothesis import settings
from xdist.scheduler import WorkStealingScheduling

from tests.torch_once import compute_once
from tests.types_once import check_once

check_once()

# Timing says nothing on a shared machine. CI draws the same examples at every run.
settings.register_profile("tersor", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("tersor")


def pytest_collection():
    gc.disable()


def pytest_collection_modifyitems(items):
    """Pages of examples take longest: what begins last should be short."""
    items.sort(key=lambda item: "test_examples_run" not in item.nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each process neighbouring tests: they share what they capture, train and export."""
    return WorkStealingScheduling(config, log)


def pytest_collection_finish():
    """What collecting the tests imported and made is no garbage: do not look through it again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def what_is_alike_is_computed_once(tmp_path_factory):
    # These import tersor, whose types are checked only from `check_once` on.
    from tersor.results.quantized import Quantized
    from tests.captured_once import capture_once
    from tests.float_files import write_once
    from tests.one_thread import use_one_thread

    with pytest.MonkeyPatch.context() as patch:
        compute_once(patch)
        use_one_thread(patch)
        capture_once(patch)
        write_once(patch, tmp_path_factory.mktemp("float"))
        patch.setattr(Quantized, "slowdown", lambda *_: 1.0)  # small files gain nothing, or less
        yield


def pytest_terminal_summary(terminalreporter):
    """Say aloud that no page was looked at, or no real file."""
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    if any("Chromium" in reason for reason in reasons):
        terminalreporter.section("PAGES WERE NOT OPENED IN A BROWSER", yellow=True, bold=True)
        terminalreporter.line("Install Chromium to test reports: apt-get install chromium-driver")
    if any("was not fetched" in reason for reason in reasons):
        terminalreporter.section("REAL FILES WERE NOT QUANTIZED", yellow=True, bold=True)
        terminalreporter.line("Their wheels were not to be had: is there a network?")
