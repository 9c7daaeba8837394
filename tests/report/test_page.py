"""Pages in a real browser: nothing fails, nothing is asked for, the table sorts and searches."""

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

import tersor
from benchmarks.harness.browser import drawn
from tersor.report.saved import save
from tests.report.browser import needs_chromium, opened
from tests.report.models import compressed_report, report

pytestmark = needs_chromium
WIDE, NARROW = 1280, 390


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save(report(), tmp_path_factory.mktemp("page") / "report.html")


def names(browser):
    rows = browser.find_elements(By.CSS_SELECTOR, "#table tbody tr:first-child th")
    return [row.text for row in rows if row.is_displayed()]


def head(browser, title):
    (found,) = [
        x for x in browser.find_elements(By.CSS_SELECTOR, "#table thead th") if title in x.text
    ]
    return found, found.find_element(By.TAG_NAME, "button")


@pytest.mark.parametrize(("width", "dark"), [(WIDE, False), (NARROW, True)])
def test_every_plot_is_drawn_and_nothing_sticks_out(path, width, dark):
    with opened(path, width, dark=dark) as browser:
        assert drawn(browser) == 4
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")


def test_the_table_sorts_with_the_keyboard(path):
    layers = report().layers
    order = [layer.name for layer in sorted(layers, key=lambda layer: layer.macs)]
    assert order != [layer.name for layer in layers]
    with opened(path) as browser:
        cell, button = head(browser, "MACs")
        assert cell.get_attribute("aria-sort") == "none"
        button.send_keys(Keys.ENTER)
        assert cell.get_attribute("aria-sort") == "ascending"
        assert names(browser) == order
        button.send_keys(Keys.ENTER)
        assert cell.get_attribute("aria-sort") == "descending"
        assert names(browser) == order[::-1]
        first, button = head(browser, "layer")
        button.send_keys(Keys.ENTER)
        assert cell.get_attribute("aria-sort") == "none"
        assert first.get_attribute("aria-sort") == "ascending"
        assert names(browser) == [layer.name for layer in layers]


def test_the_table_is_searched_also_in_what_was_done(path):
    with opened(path) as browser:
        search = browser.find_element(By.ID, "search")
        search.send_keys("inner.3 conv")
        assert names(browser) == ["inner.3"]
        assert browser.find_element(By.ID, "shown").text == "1 of 4 layers"
        search.clear()
        search.send_keys("folded")
        assert names(browser) == ["inner.0"]
        search.clear()
        search.send_keys("no such layer")
        assert names(browser) == []


def test_a_row_opens(path):
    with opened(path) as browser:
        button = browser.find_element(By.CSS_SELECTOR, "#table tbody th button")
        details = browser.find_element(By.CSS_SELECTOR, "#table tbody .details")
        assert not details.is_displayed()
        button.send_keys(Keys.ENTER)
        assert button.get_attribute("aria-expanded") == "true"
        assert "rounded" in details.text


def test_another_layer_is_chosen_for_a_histogram(path):
    with opened(path) as browser:
        drawn(browser)
        plot = browser.find_element(By.CSS_SELECTOR, '[data-chart="weights"]')
        before = plot.find_element(By.TAG_NAME, "svg").get_attribute("innerHTML")
        plot.find_element(By.TAG_NAME, "select").send_keys(Keys.ARROW_DOWN)
        WebDriverWait(browser, 20).until(
            lambda _: plot.find_element(By.TAG_NAME, "svg").get_attribute("innerHTML") != before
        )


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_other_pages_open(tmp_path, width):
    save(compressed_report(), tmp_path / "compressed.html")
    tersor.compare(report(4), report(8)).save(tmp_path / "compare.html")
    for name in ("compressed", "compare"):
        with opened(tmp_path / f"{name}.html", width) as browser:
            assert drawn(browser) == 1
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
