"""What a file computes of four inputs, kept in the file: a few kilobytes for outputs of any size.

    kept: ‖y‖² and p_k(y) of each output y, and a digest of its bits   (see `core.projections`)
    noise / signal = Σ mean_k (p_k(y) − p_k(kept))² / Σ ‖y‖²

The inputs are drawn again when they are needed. With the same runtime on the same kind of
processor, every bit is the same. Another one adds up in another order: sums in the middle of two
integers then become the other one, which the layers behind amplify.
"""

import base64
import hashlib
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tersor.core.projections import COUNT, projections
from tersor.data.given.feeds import Arrays
from tersor.export.evidence.drawn_inputs import Drawn, draw
from tersor.export.sessions.machine import features
from tersor.export.sessions.runtime import Runtime

INPUTS = 4
#: dB that are expected of another runtime or processor. Of 19 files, other versions of onnxruntime
#: and a processor without VNNI reach 129 dB or more, and kernels in float 27 dB.
ELSEWHERE = 20.0
_BYTES = 6  # of a digest
_MOST = 200.0  # dB
_LARGEST = 1 << 24  # numbers in the inputs of a file: a damaged one may ask for any size
_SEED = 1000  # of the signs: no seed of an input


@dataclass(frozen=True)
class Outcome:
    """Expected outputs, compared with those of this machine.

    Attributes:
        before: The runtime and the processor on which the file was written.
        now: Those of this machine.
        sqnr: Output → dB; infinite if every bit is the same.
        faults: What is wrong, one sentence each.
    """

    before: str
    now: str
    sqnr: Mapping[str, float]
    faults: tuple[str, ...]


def record(file: Runtime, inputs: Sequence[Drawn]) -> dict[str, Any]:
    """Compute what a file is expected to compute.

    Args:
        file: The file, loaded as users run it.
        inputs: What it is given.

    Returns:
        Plain data for JSON; empty if the file computes something else each time.

    Raises:
        ValueError: Its inputs are too large.
    """
    _check_size(inputs)
    results = _results(file, inputs)
    again = file.run(draw(inputs, file, 0))
    if any(again[name].tobytes() != results[0][name].tobytes() for name in file.compared):
        return {}
    outputs = {name: _kept([found[name] for found in results]) for name in file.compared}
    kept = [asdict(drawn) for drawn in inputs]
    return {"on": where(file), "inputs": kept, "outputs": outputs}


def compare(file: Runtime, kept: Mapping[str, Any]) -> Outcome:
    """Compute it again, and compare.

    Args:
        file: The file, loaded as users run it.
        kept: What `record` returned.

    Raises:
        Exception: What is kept is damaged, or the file does not run.
    """
    inputs = [Drawn(tuple(x["shape"]), x["low"], x["high"]) for x in kept["inputs"]]
    _check_size(inputs)
    found, now, before = _results(file, inputs), where(file), str(kept["on"])
    outputs, faults, sqnr = kept["outputs"], list[str](), dict[str, float]()
    if list(outputs) != list(file.compared):
        names = f"{', '.join(outputs)} and now are {', '.join(file.compared)}"
        return Outcome(before, now, {}, (f"its outputs were {names}",))
    for name, old in outputs.items():
        values = [result[name] for result in found]
        new = _kept(values)
        sqnr[name] = math.inf if new["bits"] == old["bits"] else _sqnr(old, new)
        is_judged = values[0].dtype.kind == "f" and old["shapes"] == new["shapes"]
        faults += _faults(name, sqnr[name], before, now, is_judged)
    return Outcome(before, now, sqnr, tuple(faults))


def _check_size(inputs: Sequence[Drawn]) -> None:
    if any(size < 0 for drawn in inputs for size in drawn.shape):
        raise ValueError("an input has a negative size")
    if sum(math.prod(size or 1 for size in drawn.shape) for drawn in inputs) > _LARGEST:
        raise ValueError(f"its inputs have more than {_LARGEST:,} numbers")


def where(file: Runtime) -> str:
    """The runtime of a file, and the processor, as far as they decide how sums are rounded."""
    return " ".join((file.version, platform.machine(), *features()))


def _faults(name: str, sqnr: float, before: str, now: str, is_judged: bool) -> list[str]:
    """What is wrong with an output; a tie may change classes, and how many objects are found."""
    what = f"output {name!r} is not what it was when the file was written: {sqnr:.1f} dB"
    if before == now and sqnr < math.inf:
        return [f"{what}, and every bit should be the same with {now}"]
    if is_judged and not sqnr >= ELSEWHERE:
        return [
            f"{what} with {now}, and {ELSEWHERE:.0f} dB are expected of a file that was written "
            f"with {before}; the file was changed, or this runtime computes something else"
        ]
    return []


def _results(file: Runtime, inputs: Sequence[Drawn]) -> list[Arrays]:
    return [file.run(draw(inputs, file, number)) for number in range(INPUTS)]


def _kept(values: Sequence[np.ndarray]) -> dict[str, Any]:
    """What is kept of an output, for each of the inputs."""
    arrays = [np.ascontiguousarray(value) for value in values]
    digests = [hashlib.sha256(array.tobytes()).digest()[:_BYTES] for array in arrays]
    numbers = [[_power(x), *projections(x, _SEED + k)] for k, x in enumerate(arrays)]
    return {
        "shapes": [list(array.shape) for array in arrays],
        "bits": base64.b64encode(b"".join(digests)).decode(),
        "numbers": base64.b64encode(np.array(numbers, "<f4").tobytes()).decode(),
    }


def _power(x: np.ndarray) -> float:
    flat = np.asarray(x, np.float64).ravel()
    return float(np.square(flat[np.isfinite(flat)]).sum())


def _sqnr(old: Mapping[str, Any], new: Mapping[str, Any]) -> float:
    """Signal over noise in dB, by the projections, within ±200."""
    if old["shapes"] != new["shapes"]:
        return -_MOST
    before, after = (_numbers(kept["numbers"]) for kept in (old, new))
    noise = float(np.square(after[:, 1:] - before[:, 1:]).mean(1).sum())
    signal = float(before[:, 0].sum())
    if not noise or not signal:
        return -_MOST if noise else _MOST
    return max(-_MOST, min(_MOST, 10 * math.log10(signal / noise)))


def _numbers(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(INPUTS, 1 + COUNT).astype(float)


def as_text(kept: Mapping[str, Any], seal: str) -> str:
    """Convert to text, with a seal of its own.

    Args:
        kept: What `record` returned.
        seal: The seal of the file; another one tells that the file was sealed anew.
    """
    text = json.dumps({**kept, "seal": seal})
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]} {text}"


def from_text(text: str, seal: str) -> tuple[dict[str, Any], str]:
    """Read the text.

    Args:
        text: What `as_text` returned.
        seal: The seal of the file.

    Returns:
        The data, and what is wrong with them, in a sentence, or an empty one. Data that are damaged
        are empty.
    """
    digest, _, content = text.partition(" ")
    if hashlib.sha256(content.encode()).hexdigest()[:16] != digest:
        return {}, "its expected outputs are not what was written"
    try:
        kept = dict(json.loads(content))
    except (ValueError, RecursionError):
        return {}, "its expected outputs are not what was written"
    is_same = kept.pop("seal", None) == seal
    return kept, "" if is_same else "it was changed and sealed anew after it was written"
