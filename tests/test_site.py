"""The documentation becomes a site without a warning, and asks no other host for anything."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(  # noqa: S603
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return folder


def test_every_page_is_there(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in ROOT.glob("docs/**/*.md")}
    pages -= {Path("index")}
    assert all((site / page / "index.html").is_file() for page in pages)


def test_the_reference_shows_docstrings(site):
    text = (site / "reference/index.html").read_text(encoding="utf-8")
    for name in ("quantize", "training.train", "compression.compress", "diagnose", "WithData"):
        assert f'id="tersor.{name}"' in text or f'id="tersor.levels.{name}"' in text
    assert "Bits of the weights, 2 to 16" in text
    assert "Multiply-accumulates that may be left: a share" in text


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.glob("**/*.html"):
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|link)[^>]+(?:src|href)=\"?(https?://[^\" >]+)", text)
        assert not fetched, page
