"""What the benchmark scripts share: arguments, networks under test, and the table they print."""

from benchmarks.harness.alone import alone, peak_megabytes
from benchmarks.harness.arguments import arguments
from benchmarks.harness.subject import DFQ, NAIVE, Subject, subjects
from benchmarks.harness.table import Table, progress

__all__ = [
    "DFQ",
    "NAIVE",
    "Subject",
    "Table",
    "alone",
    "arguments",
    "peak_megabytes",
    "progress",
    "subjects",
]
