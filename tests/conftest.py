"""Settings for all tests."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread each, before torch counts them
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# Timing says nothing on a shared machine. CI draws the same examples at every run.
settings.register_profile("tersor", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("tersor")
