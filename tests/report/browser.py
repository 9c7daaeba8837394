"""Where reports are opened in a browser, and that they are quiet there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver

from benchmarks.harness import browser as harness

needs_chromium = pytest.mark.skipif(
    "CI" in os.environ or not harness.IS_HERE,
    reason="Chromium opens no report here: apt-get install chromium chromium-driver",
)


@contextmanager
def opened(path: Path, width: int = 1280, dark: bool = False) -> Iterator[webdriver.Chrome]:
    """A page in a browser; it must neither complain nor ask for anything.

    Args:
        path: The page.
        width: Of the window.
        dark: Whether the user likes it dark.
    """
    with harness.opened(path, width, dark=dark) as browser:
        yield browser
        assert harness.complaints(browser) == []
        assert harness.requests(browser) == []
