"""Runs a program inside its environment, and says what it took; it needs no package.

python inside.py PROGRAM REPORT [ARGUMENT …]
"""

import json
import re
import resource
import runpy
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_megabytes() -> float:
    """The most memory since this program began; `ru_maxrss` has that of what started it, too."""
    found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
    assert found is not None
    return int(found[1]) / 1024


def main() -> None:
    """Run the program, and write its CPU seconds and its peak."""
    program, report, *sys.argv[1:] = sys.argv[1:]
    sys.argv[0] = program
    runpy.run_path(program, run_name="__main__")
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(use.ru_utime + use.ru_stime for use in uses)
    Path(report).write_text(json.dumps({"seconds": seconds, "peak": peak_megabytes()}))


if __name__ == "__main__":
    main()
