"""Loads results that `save` wrote."""

from pathlib import Path

from tersor.errors import InvalidInputError, InvalidModelError
from tersor.results.compressed import Compressed
from tersor.results.quantized import Quantized
from tersor.saved.result_file import from_bytes

_KINDS: dict[str, type[Quantized | Compressed]] = {
    "quantized": Quantized,
    "compressed": Compressed,
}


def load_result(path: str | Path) -> Quantized | Compressed:
    """Load a result that `save` wrote. Nothing in the file runs.

    Args:
        path: The file.

    Raises:
        InvalidInputError: There is no such file.
        InvalidModelError: It is damaged or inconsistent.
        UnsupportedError: A newer Tersor wrote it, or it needs what is not here.
    """
    if not Path(path).is_file():
        raise InvalidInputError(f"cannot read {str(path)!r}: there is no such file")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"cannot read {str(path)!r}: {error.strerror or error}; give the file that `save` wrote"
        ) from error
    parts = from_bytes(content, str(path))
    try:
        return _KINDS[parts.kind]._of_parts(parts)
    except KeyError as error:
        raise InvalidModelError(
            f"{str(path)!r} is damaged: its {error} is missing; save it again"
        ) from error
