"""Measures in a process of its own, which nothing that ran before has touched."""

import multiprocessing
import resource
from collections.abc import Callable
from typing import Any


def alone(measure: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a new process, and return what it puts into the queue.

    Args:
        measure: The function; its last argument is the queue.
        args: Its other arguments.
    """
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=measure, args=(*args, results))
    process.start()
    found = results.get()
    process.join()
    return found


def peak_megabytes() -> float:
    """The most memory that this process has had; it starts with the peak of its parent."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
