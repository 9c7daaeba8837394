"""A headless Chromium that opens pages from files, and hears what they ask for."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
IS_HERE = CHROMIUM is not None and DRIVER is not None
_FLAGS = ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage")
_PATIENCE = 60  # seconds


@contextmanager
def opened(
    path: Path, width: int = 1280, height: int = 900, dark: bool = False
) -> Iterator[webdriver.Chrome]:
    """A page in a window of some size.

    Args:
        path: The page.
        width: Of the window; narrow ones are those of a phone.
        height: Of the window.
        dark: Whether the user likes it dark.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in _FLAGS:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.get(path.resolve().as_uri())
        yield browser
    finally:
        browser.quit()


def drawn(browser: webdriver.Chrome) -> int:
    """Scroll to every plot, wait until all are drawn, and count them."""
    for plot in browser.find_elements(By.CLASS_NAME, "plot"):
        browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant'})", plot)
        WebDriverWait(browser, _PATIENCE).until(
            lambda _, plot=plot: plot.get_attribute("data-drawn")
        )
    return len(browser.find_elements(By.CSS_SELECTOR, ".plot svg"))


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the console of a page says."""
    return [entry["message"] for entry in browser.get_log("browser")]


def requests(browser: webdriver.Chrome) -> list[str]:
    """What a page asked for, but for itself and what it holds."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    held = ("data:", "blob:", browser.current_url.partition("#")[0])
    return [url for url in urls if not url.startswith(held)]
