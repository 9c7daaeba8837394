"""Converts a folder of images to arrays that a network takes, as torchvision's transforms do.

Resize the short side, crop the middle, scale pixels to 0…1, subtract a mean, divide by a standard
deviation: the preprocessing of nearly every classifier.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tersor.checked import Count, checked
from tersor.data.jpeg_scans import check_scans
from tersor.errors import InvalidInputError, UnsupportedError
from tersor.frontend.explain import first_line

if TYPE_CHECKING:
    from PIL.Image import Image

#: Pillow starts other programs for some formats (Ghostscript for PostScript), so it is told which
#: formats to expect. The content decides, not the name.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_JPEG = ("JPEG", "MPO")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_OTHERS = (".gif", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2", ".jxl", ".ppm", ".tga")
_MOST = 89_000_000  # pixels of a file, which Pillow itself doubts beyond
_MOST_RESIZED = 1 << 25  # pixels that become floats
_MODES = ("RGB", "RGBA", "RGBX", "L", "LA", "P", "PA", "1", "CMYK", "YCbCr")

Colour = tuple[float, float, float]


@checked()
@dataclass(frozen=True)
class Pixels:
    """The preprocessing of an image for a network.

    Attributes:
        resize: Pixels of the short side after bilinear resizing; None keeps the size.
        crop: Side of the square that is cut from the middle; None keeps the whole image.
        mean: Subtracted from red, green and blue, which range from 0 to 1.
        std: Divides red, green and blue after that.

    Raises:
        InvalidInputError: `mean` or `std` is above 1, as if pixels ranged from 0 to 255.
    """

    resize: Count | None = None
    crop: Count | None = None
    mean: Colour = (0.0, 0.0, 0.0)
    std: Colour = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for name, colour in (("mean", self.mean), ("std", self.std)):
            if max(colour) > 1:
                right = ",".join(f"{x / 255:.3g}" for x in colour)
                raise InvalidInputError(
                    f"{name}={colour} is for pixels in 0…255, but pixels are scaled to 0…1 first; "
                    f"divide it by 255: {right}"
                )

    def of(self, image: "Image") -> np.ndarray:
        """Convert an image to an array `[3, height, width]`.

        Raises:
            InvalidInputError: It is smaller than the crop, or has too many pixels.
        """
        pixels = np.asarray(self._cut(self._sized(image)), np.float32) / 255
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return ((pixels - mean) / std).transpose(2, 0, 1)

    def _sized(self, image: "Image") -> "Image":
        from PIL.Image import Resampling

        short = min(image.size)
        width, height = (int((self.resize or short) * side / short) for side in image.size)
        if width * height > _MOST_RESIZED:
            raise InvalidInputError(
                f"it has {image.width}×{image.height} pixels, which would become {width}×{height}; "
                "cut it, or resize to less"
            )
        if self.resize is None:
            return image
        return image.resize((width, height), Resampling.BILINEAR)

    def _cut(self, image: "Image") -> "Image":
        side = self.crop
        if side is None:
            return image
        if min(image.size) < side:
            raise InvalidInputError(
                f"it has {image.width}×{image.height} pixels, which is less than crop={side}; "
                "resize to at least that"
            )
        left, top = (round((length - side) / 2) for length in image.size)
        return image.crop((left, top, left + side, top + side))


def find_images(folder: str | Path) -> list[Path]:
    """List the images of a folder by name; sub-folders and hidden files are ignored.

    Args:
        folder: The folder.

    Raises:
        InvalidInputError: There is none.
        UnsupportedError: Pillow, which reads them, is not installed.
    """
    images = _images(Path(folder))
    if not images:
        raise InvalidInputError(
            f"{str(folder)!r} holds no images ({', '.join(SUFFIXES)}), and no folders of images"
        )
    return images


def find_classes(folder: str | Path) -> tuple[list[Path], np.ndarray | None]:
    """List the images of a folder, or of a tree whose folders are named after the classes.

    The class of an image is the place of its folder among all folders by name, as in torchvision's
    `ImageFolder`. Images of different classes take turns, so the first ones are of many classes.

    Args:
        folder: A folder of images, or of folders of images.

    Returns:
        The images, and the class of each, or None if the images are in the folder itself.

    Raises:
        InvalidInputError: There is no image.
        UnsupportedError: Pillow, which reads them, is not installed.
    """
    root = Path(folder)
    classes = sorted(x for x in root.iterdir() if x.is_dir() and not x.name.startswith("."))
    found = [] if _images(root) else [_images(x, deep=True) for x in classes]
    if not any(found):
        return find_images(root), None
    turns = [
        (number, label, path)
        for label, paths in enumerate(found)
        for number, path in enumerate(paths)
    ]
    turns.sort(key=lambda turn: turn[:2])
    return [path for *_, path in turns], np.array([label for _, label, _ in turns])


def _images(folder: Path, deep: bool = False) -> list[Path]:
    """The images of a folder by name, and those of its sub-folders if wanted."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise UnsupportedError(
            "Pillow, which reads images, is not installed: pip install 'tersor[images]'"
        ) from error
    inside = folder.rglob("*") if deep else folder.iterdir()
    shown = [x for x in inside if not x.name.startswith(".")]
    for x in shown:
        _check_kind(x, deep)
    return sorted(x for x in shown if x.suffix.lower() in SUFFIXES and x.is_file())


def _check_kind(path: Path, deep: bool) -> None:
    """Refuse what would be left out silently."""
    if path.is_dir():
        if deep and path.is_symlink():
            raise InvalidInputError(f"{str(path)!r} is a link to a folder; give the folder itself")
    elif path.suffix.lower() in SUFFIXES and not path.is_file():
        is_nothing = path.is_symlink() and not path.exists()
        what = "a link to nothing" if is_nothing else "no file but a pipe or a device"
        raise InvalidInputError(f"{str(path)!r} is {what}; remove it from the folder")
    elif path.suffix.lower() in _OTHERS:
        raise InvalidInputError(
            f"{str(path)!r} is a picture of a kind that is not read ({', '.join(SUFFIXES)} are); "
            "convert it, or remove it from the folder"
        )


def read_images(files: Sequence[Path], pixels: Pixels) -> list[np.ndarray]:
    """Read images as batches `[images, 3, height, width]`: a new one wherever the size changes.

    Args:
        files: The files, at least one.
        pixels: The preprocessing of each.

    Raises:
        InvalidInputError: A file cannot be read; the message names it.
    """
    found = [_read(file, pixels) for file in files]
    return [np.stack(list(alike)) for _, alike in groupby(found, lambda image: image.shape)]


def _read(file: Path, pixels: Pixels) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings(), Image.open(file, formats=FORMATS) as image:
            warnings.simplefilter("ignore")  # damaged notes of a camera, such as EXIF
            if image.mode not in _MODES:
                raise InvalidInputError(f"its mode is {image.mode}; save it with 8 bits per colour")
            if image.width * image.height > _MOST:
                raise InvalidInputError(f"it has {image.width}×{image.height} pixels; cut it")
            if image.format in _JPEG:
                check_scans(file)
            return pixels.of(ImageOps.exif_transpose(image).convert("RGB"))
    except InvalidInputError as error:
        raise InvalidInputError(f"{str(file)!r}: {error}") from error
    except Exception as error:
        raise InvalidInputError(
            f"{str(file)!r} is not a readable {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image "
            f"({first_line(error)}); repair it, or remove it from the folder"
        ) from error
