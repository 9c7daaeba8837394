"""Pictures: sound ones, broken ones, and what is tested."""

import io
import random
import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.fuzz.damage import mutate_bytes
from tersor.data.images import Pixels, find_images, read_images

_SIZES = (0, 1, 2, 7, 64, 255, 2**12, 2**15 - 1, 2**16 - 1, 2**24, 2**31 - 1)
_KINDS = (
    *(("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "P")),
    *(("PNG", "LA"), ("PNG", "1"), ("WEBP", "RGBA"), ("BMP", "RGB"), ("BMP", "P")),
)
_EXIF = 0x0112  # the tag of the orientation
_PLACES = 40  # the bytes in which headers say sizes


@cache
def picture_files() -> list[bytes]:
    """Small pictures in every format and mode that is read."""
    from PIL import Image

    array = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    whole, found = Image.fromarray(array), []
    for number, (kind, mode) in enumerate(_KINDS):
        buffer, exif = io.BytesIO(), Image.Exif()
        exif[_EXIF] = 1 + number % 8
        mode_of = whole.convert("L").convert("LA") if mode == "LA" else whole.convert(mode)
        mode_of.save(buffer, kind, **({} if kind == "BMP" else {"exif": exif}))
        found.append(buffer.getvalue())
    return found


def mutate_picture(content: bytes, rng: random.Random) -> bytes:
    """Other sizes in the header, or other bytes; every second PNG file has its checksums."""
    changed = bytearray(content)
    if rng.random() < 0.5 and len(changed) > _PLACES:
        at, form = rng.randrange(_PLACES), rng.choice((">I", "<I", ">H", "<H"))
        number = rng.choice(_SIZES) & (2 ** (8 * struct.calcsize(form)) - 1)
        struct.pack_into(form, changed, at, number)
    if rng.random() < 0.6:
        changed = bytearray(mutate_bytes(bytes(changed), rng))
    if changed.startswith(b"\x89PNG") and rng.random() < 0.5:
        _seal(changed)
    return bytes(changed)


def _seal(png: bytearray) -> None:
    """Make the checksums of a PNG file right."""
    at = 8
    while at + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, at)
        end = at + 8 + length
        if end + 4 > len(png):
            return
        struct.pack_into(">I", png, end, zlib.crc32(png[at + 4 : end]))
        at = end + 4


def read_picture(path: Path, captures: bool) -> None:
    """Read the folder of the picture, as it is or resized and cropped."""
    pixels = Pixels(resize=8, crop=8) if captures else Pixels()
    read_images(find_images(path.parent), pixels)
