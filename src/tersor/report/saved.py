"""Saves reports as files: JSON that can be read again, or one HTML page."""

from importlib.util import find_spec
from pathlib import Path

from tersor.errors import InvalidInputError
from tersor.files import check_writable, write_atomically
from tersor.report.contents import Report
from tersor.report.packages import PAGE_PACKAGES, codec, missing
from tersor.report.page import page
from tersor.report.plain_text import plain_line

JSON = ".json"
_PAGES = (".html", ".htm")


def save(report: Report, path: str | Path) -> Path:
    """Write a report: as JSON if the path ends with `.json`, else as a page.

    Args:
        report: The report.
        path: The file.

    Raises:
        ExportError: The file cannot be written.
        UnsupportedError: The packages for it are not installed.
    """
    is_data = Path(path).suffix == JSON
    content = codec().json.encode(report) if is_data else page(report).encode()
    write_atomically(path, content)
    return Path(path)


def read(path: str | Path) -> Report:
    """Read a report that was saved as JSON.

    Args:
        path: The file.

    Raises:
        InvalidInputError: The file cannot be read, or is not a report.
    """
    json, path = codec(), Path(path)
    if path.exists() and not path.is_file():
        raise InvalidInputError(f"cannot read {str(path)!r}: it is no plain file")
    try:
        return json.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise InvalidInputError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except (json.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(
            f"{str(path)!r} is no report ({plain_line(error)}); `--report report.json` writes one"
        ) from error


def check(path: str | Path | None) -> None:
    """Check that a report can be written, before the work starts.

    Args:
        path: Path of the report, or None.

    Raises:
        ExportError: The file cannot be written.
        InvalidInputError: Its name does not end with `.html` or `.json`.
        UnsupportedError: The packages for it are not installed.
    """
    codec()
    if path is not None:
        if Path(path).suffix not in (JSON, *_PAGES):
            raise InvalidInputError(
                f"a report cannot be {str(path)!r}; give a name that ends with .html or with .json"
            )
        check_writable(path)
        if Path(path).suffix != JSON and not all(map(find_spec, PAGE_PACKAGES)):
            raise missing()
