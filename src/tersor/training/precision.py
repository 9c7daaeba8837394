"""Each training has the precision that it asks for, also after others in the same process.

Accelerate keeps the precision of the first `Accelerator` for as long as the process lives: another
one is refused, and one that asks for nothing gets the first one's.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate.state import AcceleratorState, is_initialized
from accelerate.utils import parse_choice_from_env

from tersor.names import Precision


@contextmanager
def own_precision(wanted: Precision | None) -> Iterator[None]:
    """Let `Accelerator`s that are made inside have a precision; put the present state back.

    What else the state holds, such as how a network is divided, is as before if the precision is.

    Args:
        wanted: The precision. None: that of `accelerate launch`, or else float32.
    """
    usual = parse_choice_from_env("ACCELERATE_MIXED_PRECISION", "no")
    if not is_initialized() or AcceleratorState().mixed_precision == (wanted or usual):
        yield
        return
    shared = AcceleratorState._shared_state  # there is no public way: every instance is this dict
    before = dict(shared)
    shared.clear()
    try:
        yield
    finally:
        shared.clear()
        shared.update(before)
