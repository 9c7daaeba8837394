"""A JPEG file of a few bytes more for each scan cannot take any amount of time."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tersor.data.images import Pixels, read_images
from tersor.errors import InvalidInputError


def progressive():
    """A picture in several scans, and the bytes of its last one."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    stream = BytesIO()
    note = b"Exif\x00\x00" + b"\xff\xda" * 200
    Image.fromarray(pixels).save(stream, "JPEG", progressive=True, exif=note)
    content = stream.getvalue()
    return content, content[content.rindex(b"\xff\xda") : -2]


def test_what_follows_a_picture_and_what_a_note_holds_are_no_scans(tmp_path):
    content, last = progressive()
    wanted = np.asarray(Image.open(BytesIO(content)), np.float32).transpose(2, 0, 1) / 255
    (tmp_path / "a.jpg").write_bytes(content + last * 200)  # as the film of a phone
    ((found,),) = read_images([tmp_path / "a.jpg"], Pixels())
    np.testing.assert_array_equal(found, wanted)


def test_many_scans_are_refused_before_they_are_decoded(tmp_path):
    content, last = progressive()
    (tmp_path / "a.jpg").write_bytes(content[:-2] + last * 200 + content[-2:])
    with pytest.raises(InvalidInputError, match=r"a\.jpg': it has 2\d\d scans, and at most 100"):
        read_images([tmp_path / "a.jpg"], Pixels())
