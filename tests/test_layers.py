"""The documents show the layers that import-linter enforces."""

from collections import Counter
from pathlib import Path

import pytest

from tests.layers import in_full, in_short, layers

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("README.md", in_short()),
        ("CONTRIBUTING.md", in_full()),
        ("docs/organisation.md", in_full()),
    ],
)
def test_a_document_shows_the_layers_of_the_contract(page, shown):
    """Where it does not, copy the block that the message shows into the document."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert f"```text\n{shown}\n```" in text, f"{page} should hold\n\n{shown}"


def test_the_contract_names_every_folder_and_file():
    """Found in another way than the documents' blocks are made."""
    parts = (ROOT / "src/tersor").glob("[a-z]*")
    found = {path.stem for path in parts if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert sorted(name for names in layers() for name in names) == sorted(found)


def test_the_house_stays_tidy():
    """The limits of docs/organisation.md."""
    files = list((ROOT / "src/tersor/graph").glob("*.py"))
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) <= 2500
    assert len(list((ROOT / "src/tersor").glob("[a-z]*.py"))) <= 4
    names = Counter(file.stem for file in (ROOT / "src/tersor").rglob("[a-z]*.py"))
    assert sum(count > 1 for count in names.values()) <= 4
