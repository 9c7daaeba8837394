"""What `import tersor` offers."""

from pathlib import Path

import pytest

import tersor


def test_every_public_name_is_there():
    assert {"quantize", "train", "compress", "Scheme", "TersorError"} <= set(dir(tersor))
    assert all(callable(getattr(tersor, name)) for name in tersor.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        tersor.nothing  # noqa: B018


def test_no_folder_has_the_name_of_a_function():
    """Importing a folder would put it in the function's place."""
    folder = Path(tersor.__file__).parent
    inside = {path.stem for path in folder.iterdir()} - {"__init__", "py", "__pycache__"}
    assert inside.isdisjoint(tersor.__all__)
