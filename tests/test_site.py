"""The documentation becomes a site without a warning, and asks no other host for anything."""

import re
from pathlib import Path

import pytest

import tersor

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "mkdocs.yml"


@pytest.fixture(scope="module")
def build():
    """Build a site of a configuration into a folder, as `mkdocs build` does it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        mkdocs = pytest.importorskip("mkdocs.commands.build")
        config = pytest.importorskip("mkdocs.config")
        yield lambda file, folder: mkdocs.build(config.load_config(str(file), site_dir=str(folder)))


@pytest.fixture(scope="module")
def site(build, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build(CONFIG, folder)
    return folder


def test_every_page_is_there(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in ROOT.glob("docs/**/*.md")}
    pages -= {Path("index")}
    assert all((site / page / "index.html").is_file() for page in pages)


def test_the_reference_shows_docstrings(site):
    text = (site / "reference/index.html").read_text(encoding="utf-8")
    modules = {"train": "api.train.train", "compress": "api.compress.compress"}
    for name in tersor.__all__:
        assert f'id="tersor.{modules.get(name, name)}"' in text
    assert "Bits of the weights, 2 to 16" in text
    assert "Multiply-accumulates that may remain: a share" in text


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.glob("**/*.html"):
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|link)[^>]+(?:src|href)=\"?(https?://[^\" >]+)", text)
        assert not fetched, page


@pytest.fixture
def pages(tmp_path):
    """A small site with our own configuration, but for the look; returns its configuration."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# Home\n\n[There](other.md#there), [here](#home).\n")
    (tmp_path / "docs/other.md").write_text("# Other\n\n## There\n")
    file = tmp_path / "mkdocs.yml"
    plain = "docs_dir: docs\nplugins: []\ntheme: {name: mkdocs}\nnav: [index.md, other.md]\n"
    file.write_text(f"INHERIT: {CONFIG}\n{plain}")
    return file


def test_links_that_lead_somewhere_pass(build, pages, caplog):
    build(pages, pages.parent / "site")
    assert not caplog.records


@pytest.mark.parametrize(
    ("link", "warning"),
    [
        ("gone.md", "'gone.md', but the target is not found"),
        ("../mkdocs.yml", "'../mkdocs.yml', but the target is not found"),
        ("#gone", "no such anchor on this page"),
        ("other.md#gone", "does not contain an anchor '#gone'"),
    ],
)
def test_a_dead_link_fails_the_build(build, pages, caplog, link, warning):
    with (pages.parent / "docs/index.md").open("a") as home:
        home.write(f"\n[Dead]({link})\n")
    with pytest.raises(Exception, match="Aborted with 1 warnings in strict mode"):
        build(pages, pages.parent / "site")
    assert warning in caplog.text
