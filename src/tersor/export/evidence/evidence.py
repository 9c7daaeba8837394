"""What a file says of itself: its seal, and what it is expected to compute.

tersor.seal       checksums of its nodes and of each stored value: was it changed?
tersor.expected   its outputs of four inputs: does it compute what it did?
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from tersor.errors import InvalidInputError, TersorError
from tersor.export.evidence.drawn_inputs import drawn_inputs
from tersor.export.evidence.expected_outputs import Outcome, as_text, compare, from_text, record
from tersor.export.evidence.seal import EXPECTED, changes_and_notes, short_seal
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.explain import first_line
from tersor.graph.network import Network
from tersor.quant.scheme import Scheme
from tersor.quant.schemes import SCHEMES

_SCHEME = "tersor.scheme"


@dataclass(frozen=True)
class Evidence:
    """What was found out about a file.

    Attributes:
        changes: What was changed since it was written, or is computed otherwise, one sentence each.
        outcome: Its expected outputs, compared; None if it has none, or they are of no use.
        nothing: Why no outputs are expected of it; empty if some are.
    """

    changes: tuple[str, ...]
    outcome: Outcome | None = field(default=None)
    nothing: str = ""

    def as_dict(self) -> dict[str, object]:
        """Convert to plain data, ready for JSON; SQNR is None where every bit is the same."""
        found = self.outcome
        sqnr = {} if found is None else {k: x if x < 1e9 else None for k, x in found.sqnr.items()}
        return {
            "changes": list(self.changes),
            "outputs": sqnr,
            "written_with": found and found.before,
            "run_with": found and found.now,
            "nothing_expected": self.nothing,
        }

    @property
    def said(self) -> str:
        """What a sound file computes, in words."""
        if self.outcome is None:
            return f"No outputs are expected of it: {self.nothing}."
        least = min(self.outcome.sqnr.values(), default=0.0)
        if least > 1e9:
            return "It computes what it did then, bit for bit."
        return f"It computes what it did then, to {least:.1f} dB ({self.outcome.now})."


def leave_expected(path: Path, seal: str, network: Network, scheme: Scheme | None = None) -> None:
    """Write into a file what it computes of four inputs.

    Args:
        path: The file, complete and sealed.
        seal: What `tersor.export.evidence.seal.seal` returned.
        network: What it was written from.
        scheme: The target, if there is one.
    """
    kept = expected(lambda: load_as_used(path, scheme), network)
    note = onnx.ModelProto()
    note.metadata_props.add(key=EXPECTED, value=as_text(kept, seal))
    with path.open("ab") as file:  # protocol buffers join messages that follow each other
        file.write(note.SerializeToString())


def expected(load: Callable[[], Runtime], network: Network) -> dict[str, Any]:
    """What a file computes of four inputs, or the reason why nothing is said of it.

    Args:
        load: Loads the file as users run it.
        network: What it was written from.
    """
    try:
        kept = record(load(), drawn_inputs(network))
    except Exception as error:  # noqa: BLE001
        return {"nothing": f"it does not run here ({first_line(error)})"}
    return kept or {"nothing": "it computes something else each time"}


def load_as_used(path: Path, scheme: Scheme | None) -> Runtime:
    """Load a file as its users run it, with one thread; in onnxruntime, whatever its target is."""
    is_own = scheme is None or scheme.runtime == "onnxruntime"
    return Runtime(path, threads=1, config=scheme.session if scheme else (), optimize=is_own)


def examine_onnx(path: str | Path) -> Evidence:
    """Look at what an ONNX file says of itself, and run it, unless it was changed.

    Args:
        path: The file.

    Raises:
        InvalidInputError: It cannot be read at all, or it carries no proof.
    """
    changed, said = changes_and_notes(path)
    if changed is None and EXPECTED not in said:
        raise without_proof(path)
    found = ["its seal was removed"] if changed is None else changed
    if EXPECTED not in said:
        missing = "its expected outputs were removed, or an older version of Tersor wrote it"
        return Evidence((*found, missing))
    if changed:
        return Evidence(tuple(changed), nothing="it is not run")
    scheme = SCHEMES.get(said.get(_SCHEME, ""))
    read = from_text(said[EXPECTED], short_seal(said))
    return judged(found, read, lambda: load_as_used(Path(path), scheme))


def without_proof(path: str | Path) -> InvalidInputError:
    """The error that a file says nothing of itself.

    Args:
        path: The file.
    """
    return InvalidInputError(
        f"{str(path)!r} carries no proof of what was written: Tersor did not write it, an older "
        "version did, or the proof was removed. Compare it with its float model: tersor verify "
        "FLOAT FILE"
    )


def judged(
    found: Sequence[str], read: tuple[dict[str, Any], str], load: Callable[[], Runtime]
) -> Evidence:
    """Add to what was changed what is computed otherwise.

    Args:
        found: What was changed.
        read: The expected outputs, and what is wrong with them.
        load: Loads the file as users run it.
    """
    kept, wrong = read
    found = (*found, wrong) if wrong and not found else tuple(found)
    if not kept or "nothing" in kept:
        return Evidence(found, nothing=str(kept.get("nothing", "they are damaged")))
    try:
        outcome = compare(load(), kept)
    except Exception as error:  # noqa: BLE001
        own = isinstance(error, TersorError)
        why = first_line(error) if own else f"{type(error).__name__}: {first_line(error)}"
        return Evidence((*found, f"it does not run as it did when it was written: {why}"))
    return Evidence((*found, *outcome.faults), outcome)
