"""The packages that reports need, and nothing else does."""

from typing import Any

from tersor.errors import UnsupportedError

PAGE_PACKAGES = ("altair", "vl_convert")


def codec() -> Any:
    """The package that makes JSON of dataclasses, and checks what it reads.

    Raises:
        UnsupportedError: It is not installed.
    """
    try:
        import msgspec
    except ImportError as error:
        raise missing() from error
    return msgspec


def missing() -> UnsupportedError:
    """Reports need packages that nothing else needs."""
    return UnsupportedError("reports need packages of their own: pip install 'tersor[report]'")
