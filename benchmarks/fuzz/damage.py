"""Broken files out of sound ones: bytes, zip archives and the JSON in them."""

import io
import json
import random
import zipfile
from copy import deepcopy
from typing import Any

#: Values that are put in place of others.
NUMBERS = (0, 1, -1, 2, 3, 7, 255, 2**16, 2**31 - 1, -(2**31), 2**40, 2**62, -(2**63))
FLOATS = (0.0, -1.0, 1e-45, 1e38, float("inf"), float("-inf"), float("nan"))
NAMES = (
    "",
    ".",
    "..",
    "a.b",
    "class",
    "graph",
    "to",
    "forward",
    "0",
    "слой/один",
    'a"), __import__("pathlib").Path("stray").touch(), ("',
    "x=__import__('pathlib').Path('stray').touch()",
    "a\nb",
    "\\",
    "n" * 3000,
)


def flip_bytes(content: bytes, rng: random.Random) -> bytes:
    """Change a few bytes."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def truncate(content: bytes, rng: random.Random) -> bytes:
    """Cut the end off."""
    return content[: rng.randrange(len(content) + 1)]


def splice(content: bytes, rng: random.Random) -> bytes:
    """Copy one stretch of the file over, or into, another place."""
    start, length = rng.randrange(len(content)), rng.randrange(1, 200)
    place = rng.randrange(len(content))
    end = place + length * rng.randrange(2)
    return content[:place] + content[start : start + length] + content[end:]


BYTES = (flip_bytes, truncate, splice)


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """One of the above."""
    return rng.choice(BYTES)(content, rng)


def _leaves(value: Any) -> list[tuple[Any, Any]]:
    """Every place in nested lists and dictionaries, as container and key."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    found = []
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += _leaves(value[key])
    return found


def mutate_archive(content: bytes, rng: random.Random) -> bytes:
    """Change one part of a zip archive and seal it again; its bytes in a quarter of all cases."""
    if rng.random() < 0.25:
        return mutate_bytes(content, rng)
    copy = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(copy, "w") as new:
        names = old.namelist()
        victim = rng.choice([*names, *(name for name in names if name.endswith(".json"))])
        for name in names:
            part = old.read(name)
            if name == victim:
                changed = mutate_json if name.endswith(".json") else mutate_bytes
                part = changed(part, rng) if part else rng.randbytes(8)
            if name != victim or rng.random() < 0.95:
                new.writestr(name, part)
    return copy.getvalue()


def mutate_json(content: bytes, rng: random.Random) -> bytes:
    """Put other values into one to four places."""
    tree = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        container, key = rng.choice(_leaves(tree))
        other, source = rng.choice(_leaves(tree))
        elsewhere = deepcopy(other[source])  # so that the tree never holds itself
        container[key] = rng.choice((*NUMBERS, *NAMES, *FLOATS, None, [], {}, True, elsewhere))
    return json.dumps(tree).encode()
