"""The memory of this process and of the machine, as the system tells it."""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

_STATM, _MEMINFO = Path("/proc/self/statm"), Path("/proc/meminfo")
_LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


def resident() -> int:
    """Bytes that this process holds now; 0 where the system does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def free() -> int | None:
    """Bytes that this process could still get; None where the system does not tell."""
    found = [size for size in (_free_in_machine(), *_free_in_containers()) if size is not None]
    return min(found, default=None)


def _free_in_machine() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
    except (OSError, ValueError, StopIteration):
        return None


def _free_in_containers() -> list[int]:
    found = []
    for limit, usage in _LIMITS:
        try:
            found.append(max(0, int(limit.read_text()) - int(usage.read_text())))
        except (OSError, ValueError):  # there is no limit
            continue
    return found


def trim() -> None:
    """Give memory that is free back to the system, where the C library can do that."""
    with suppress(OSError, AttributeError, TypeError):  # another system, or another C library
        ctypes.CDLL(None).malloc_trim(0)
