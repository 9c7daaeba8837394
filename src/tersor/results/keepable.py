"""Results that can be kept: saved in a file, pickled and copied."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

from tersor.checked import checked
from tersor.errors import InvalidInputError
from tersor.files import write_atomically
from tersor.frontend.network_module import NetworkModule
from tersor.graph.network import quiet_copy
from tersor.saved.result_file import Parts, from_bytes, to_bytes

#: Ending of the names of saved results.
SUFFIX = ".tersor"


class Keepable(NetworkModule, ABC):
    """A module that can be saved and loaded again, whole."""

    @property
    @abstractmethod
    def _parts(self) -> Parts:
        """What is saved of it."""

    @classmethod
    @abstractmethod
    def _of_parts(cls, parts: Parts) -> "Keepable":
        """The result with these parts; a `KeyError` says which one is missing."""

    @checked()
    def save(self, path: str | Path) -> Path:
        """Save the result in a file; `tersor.load` returns the same.

        The file holds tensors and JSON, and nothing that could run when it is loaded. It holds the
        float model, too, so that the result can be verified, exported and trained later.

        Args:
            path: Where the file is written; the name ends with `.tersor`.

        Returns:
            The path.

        Raises:
            ExportError: The file cannot be written.
            InvalidInputError: Its name has another ending.
            UnsupportedError: The network calls ops of your own, which a file cannot hold.
        """
        path = Path(path)
        if path.suffix != SUFFIX:
            raise InvalidInputError(
                f"{str(path)!r} would be a saved result; call it {path.stem}{SUFFIX}"
            )
        write_atomically(path, to_bytes(self._parts))
        return path

    def __reduce__(self) -> tuple[Callable[..., "Keepable"], tuple[type, bytes]]:
        """For pickles: what `save` writes, since graphs lose how outputs are nested."""
        return _unpickled, (type(self), to_bytes(self._parts))

    def __deepcopy__(self, memo: dict[int, object]) -> "Keepable":
        copied = memo[id(self)] = type(self).__new__(type(self))
        with quiet_copy():
            copied.__setstate__(deepcopy(self.__getstate__(), memo))
        return copied

    def __copy__(self) -> "Keepable":
        copied = type(self).__new__(type(self))
        copied.__setstate__(self.__getstate__())
        return copied


def _unpickled(kind: type[Keepable], content: bytes) -> Keepable:
    return kind._of_parts(from_bytes(content, "the pickle"))
