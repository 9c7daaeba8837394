"""A folder of images: against torchvision's transforms by hand, and every way to be unfit."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from tersor.data.images import Pixels, find_classes, find_images, read_images
from tersor.errors import InvalidInputError, UnsupportedError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(width, height, seed=0):
    """Random colours."""
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Two images of one size, and things that are none."""
    picture(8, 6, 1).save(tmp_path / "b.PNG")
    picture(8, 6, 0).save(tmp_path / "a.bmp")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._a.png").write_bytes(b"what macOS leaves behind")
    (tmp_path / "more.png").mkdir()
    return tmp_path


def test_images_come_by_name_and_go_from_0_to_1(folder):
    files = find_images(folder)
    assert [file.name for file in files] == ["a.bmp", "b.PNG"]
    (batch,) = read_images(files, Pixels())
    assert batch.shape == (2, 3, 6, 8)
    assert batch.dtype == np.float32
    for image, seed in zip(batch, (0, 1), strict=True):
        expected = np.asarray(picture(8, 6, seed)).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(image, expected, atol=1e-6)


@pytest.mark.parametrize(("size", "resized"), [((40, 30), (26, 20)), ((30, 41), (20, 27))])
def test_the_short_side_is_resized_and_the_middle_cut_out(size, resized, tmp_path):
    picture(*size).save(tmp_path / "a.png")
    chosen = Pixels(resize=20, crop=10, mean=MEAN, std=STD)
    ((found,),) = read_images([tmp_path / "a.png"], chosen)
    whole = np.asarray(picture(*size).resize(resized, Image.Resampling.BILINEAR))
    left, top = ((length - 10) // 2 for length in resized)  # 8.5 is 8, as in torchvision
    middle = whole[top : top + 10, left : left + 10].astype(np.float64) / 255
    expected = (middle - MEAN) / STD
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), atol=1e-5)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_other_modes_become_red_green_and_blue(mode, tmp_path):
    suffix = "jpg" if mode == "CMYK" else "png"
    grey = Image.fromarray(np.full((4, 4, 3), 255, np.uint8)).convert(mode)
    grey.save(tmp_path / f"a.{suffix}")
    (found,) = read_images([tmp_path / f"a.{suffix}"], Pixels())
    np.testing.assert_allclose(found, np.ones((1, 3, 4, 4)), atol=0.02)


def test_sixteen_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 60000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InvalidInputError, match=r"a\.png': its mode is I;16; save it with 8 bits"):
        read_images([tmp_path / "a.png"], Pixels())


def test_each_size_has_a_batch_and_the_order_stays(tmp_path):
    for name, width in (("a", 8), ("b", 8), ("c", 9), ("d", 8)):
        picture(width, 6, seed=ord(name)).save(tmp_path / f"{name}.png")
    files = find_images(tmp_path)
    found = read_images(files, Pixels())
    assert [batch.shape for batch in found] == [(2, 3, 6, 8), (1, 3, 6, 9), (1, 3, 6, 8)]
    last = np.asarray(picture(8, 6, seed=ord("d"))).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(found[2][0], last, atol=1e-6)
    assert [batch.shape for batch in read_images(files, Pixels(crop=4))] == [(4, 3, 4, 4)]


def test_the_folders_of_a_tree_are_the_classes_and_take_turns(tmp_path):
    for name in ("dogs/b", "dogs/a", "cats/deep/c", "apes/z"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(4, 4).save(path)
    (tmp_path / "birds").mkdir()  # a class without images has its number
    files, classes = find_classes(tmp_path)
    assert [file.stem for file in files] == ["z", "c", "a", "b"]
    assert classes.tolist() == [0, 2, 3, 3]
    assert find_classes(tmp_path / "dogs")[1] is None


@pytest.mark.parametrize(
    ("name", "value"), [("mean", (123.7, 116.3, 103.5)), ("std", (58, 57, 57))]
)
def test_numbers_for_pixels_up_to_255_are_refused(name, value):
    right = ",".join(f"{x / 255:.3g}" for x in value)
    with pytest.raises(InvalidInputError, match=f"{name}=.*scaled to 0…1 first.*: {right}"):
        Pixels(**{name: value})


def test_an_image_smaller_than_the_crop(tmp_path):
    picture(8, 6).save(tmp_path / "a.png")
    with pytest.raises(InvalidInputError, match=r"a\.png': it has 8×6 pixels.* crop=7"):
        read_images([tmp_path / "a.png"], Pixels(crop=7))


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_a_damaged_image_is_named(suffix, share, tmp_path):
    path = tmp_path / f"cut.{suffix}"
    picture(64, 64).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        InvalidInputError, match=rf"cut\.{suffix}' is not a readable .*BMP image \(.*remove it"
    ):
        read_images([path], Pixels())


def test_a_folder_without_images(tmp_path):
    (tmp_path / "cats").mkdir()
    picture(8, 6).save(tmp_path / "cats" / "a.png")
    with pytest.raises(InvalidInputError, match=r"holds no images \(\.jpg.*no folders of images"):
        find_images(tmp_path)


def test_without_pillow(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'tersor\[images\]"):
        find_images(folder)


def test_a_picture_of_another_kind_starts_no_other_program(tmp_path, monkeypatch):
    """Pillow draws PostScript by calling `gs`, whatever the file is called."""
    programs = tmp_path / "programs"
    programs.mkdir()
    script = programs / "gs"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    script.chmod(0o700)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    picture = tmp_path / "a.png"
    picture.write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(
        InvalidInputError, match=r"a\.png' is not a readable JPEG, PNG, WEBP or BMP"
    ):
        read_images([picture], Pixels())
    assert not (tmp_path / "started").exists()


def test_the_content_decides_and_not_the_name(tmp_path):
    picture(8, 6).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert read_images([tmp_path / "a.jpg"], Pixels())[0].shape == (1, 3, 6, 8)


def test_an_image_is_turned_as_its_camera_says(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    turned = Image.fromarray(np.rot90(pixels, 1).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it to the right to see it upright
    turned.save(tmp_path / "a.png", exif=exif)
    (found,) = read_images([tmp_path / "a.png"], Pixels())
    np.testing.assert_allclose(found[0], pixels.transpose(2, 0, 1) / 255, atol=1e-6)


def test_pixels_are_counted_before_they_are_resized(tmp_path):
    Image.new("RGB", (1, 60_000)).save(tmp_path / "a.png")
    (found,) = read_images([tmp_path / "a.png"], Pixels(resize=2))
    assert found.shape == (1, 3, 120_000, 2)
    with pytest.raises(InvalidInputError, match=r"a.png.*1×60000 pixels.*224×13440000; cut it"):
        read_images([tmp_path / "a.png"], Pixels(resize=224))


def test_the_pixels_of_a_file_are_counted_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("tersor.data.images._MOST", 99)
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    with pytest.raises(InvalidInputError, match=r"a.png.*10×10 pixels; cut it"):
        read_images([tmp_path / "a.png"], Pixels())


def test_pipes_and_dead_links_are_named(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to("a.png")
    assert [path.name for path in find_images(tmp_path)] == ["a.png", "link.png"]
    os.mkfifo(tmp_path / "b.png")
    with pytest.raises(InvalidInputError, match=r"b.png' is no file but a pipe"):
        find_images(tmp_path)
    for aim, what in (
        ("nowhere", "a link to nothing"),
        (os.devnull, "no file but a pipe or a dev"),
    ):
        (tmp_path / "b.png").unlink()
        (tmp_path / "b.png").symlink_to(aim)
        with pytest.raises(InvalidInputError, match=rf"b.png' is {what}"):
            find_images(tmp_path)


@pytest.mark.parametrize("name", ["a.gif", "b.TIFF", "c.heic"])
def test_a_picture_of_a_kind_that_is_not_read_is_named(name, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / name).touch()
    with pytest.raises(InvalidInputError, match=f"{name}' is a picture of a kind that is not read"):
        find_images(tmp_path)


def test_a_linked_folder_among_classes_is_named(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "tree" / "class").mkdir(parents=True)
    (tmp_path / "tree" / "linked").symlink_to(tmp_path / "elsewhere")
    paths, _ = find_classes(tmp_path / "tree")
    assert [path.name for path in paths] == ["a.png"]
    (tmp_path / "tree" / "class" / "inner").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInputError, match="inner' is a link to a folder"):
        find_classes(tmp_path / "tree")
