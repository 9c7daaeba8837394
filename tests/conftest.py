"""Settings for all tests."""

import os

from hypothesis import settings

# Timing says nothing on a shared machine. CI draws the same examples at every run.
settings.register_profile("tersor", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("tersor")
