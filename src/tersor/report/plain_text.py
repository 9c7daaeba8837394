"""Texts for terminals: names from files and reports cannot steer them."""

import re

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BEYOND_JSON = re.compile(r"[\x7f-\x9f]")  # JSON escapes the others


def plain_text(text: object) -> str:
    """The text of anything, with spaces for control characters other than tabs and line breaks.

    Args:
        text: Anything.
    """
    return _CONTROLS.sub(" ", str(text))


def plain_line(text: object) -> str:
    """The text of anything as one line, likewise.

    Args:
        text: Anything.
    """
    return " ".join(plain_text(text).split())


def plain_json(text: str) -> str:
    """JSON in which control characters are escaped, all of them.

    Args:
        text: The JSON.
    """
    return _BEYOND_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
