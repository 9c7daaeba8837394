"""Four files that people have, each with the answers of its float file as the truth."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter

from benchmarks.peers.subject import Subject, stored
from benchmarks.real_files.entries import ENTRIES
from benchmarks.real_files.entry import Entry, total
from benchmarks.real_files.session import Feed, Session
from benchmarks.real_files.wheels import Wheel
from tersor.export.sessions.runtime import Runtime

#: Name here → name in the corpus: a classifier of TensorFlow's, one of Keras', and two detectors.
REAL_FILES = {
    "open_nsfw": "open-nsfw",
    "magika": "magika v3.3",
    "nudenet": "nudenet 320n",
    "ddddocr": "ddddocr det",
}
_MOST_TO_SEE = 128
_OLDEST, _NEWER = 13, 17  # opsets


def real_file(name: str, folder: Path, most: int) -> Subject:
    """A file of the corpus, with its own samples.

    Args:
        name: Of `REAL_FILES`.
        folder: Where its files go.
        most: Samples to test with at most.
    """
    entry = ENTRIES[REAL_FILES[name]]
    wheel = Wheel(entry.requirement)
    path = folder / f"{name}.onnx"
    _in_new_opset(entry.original(wheel, folder), path)
    samples = entry.samples(wheel)
    seen = min(_MOST_TO_SEE, len(samples) // 2)
    tested = samples[seen : seen + most]
    files = [
        stored(folder / f"{use}.npz", _joined(_feeds(entry, path, chosen)))
        for use, chosen in (("samples", samples[:seen]), ("test", tested))
    ]
    answers = _answers(entry, path, tested)

    def compared(outputs: np.ndarray) -> list[Any]:
        wanted = (answers(None, n) for n in range(len(tested)))
        given = (answers(outputs[n : n + 1], n) for n in range(len(tested)))
        return [entry.same(*pair) for pair in zip(wanted, given, strict=True)]

    def same(found: list[Any], numbers: np.ndarray) -> float:
        return 100 * total([found[n] for n in numbers])

    return Subject(name, path, *files, entry.metric, same, len(tested), compared)


def _in_new_opset(original: Path, path: Path) -> None:
    """Copy a file, converted if its opset is too old to hold weights per channel."""
    model = onnx.load(original)
    opset = max(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    if opset < _OLDEST:
        model = onnx.version_converter.convert_version(model, _NEWER)
    onnx.save(model, path)


def _feeds(entry: Entry, path: Path, samples: Sequence[object]) -> Iterator[Feed]:
    session = Session(path, keep=True)
    for sample in samples:
        entry.use(session, sample)
    (name,) = Runtime(path).inputs
    yield from ({name: feed[name]} for feed in session.feeds)


def _joined(feeds: Iterator[Feed]) -> Feed:
    rows = list(feeds)
    return {name: np.concatenate([feed[name] for feed in rows]) for name in rows[0]}


class _Replayed(Session):
    """A session that returns what another file computed."""

    def __init__(self, output: np.ndarray, like: Session) -> None:
        self.inputs, self.outputs = like.inputs, like.outputs
        self.feeds, self._output = [], output

    def run(self, feed: object) -> list[np.ndarray]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The output, whatever is given."""
        del feed
        return [self._output]


def _answers(
    entry: Entry, path: Path, samples: Sequence[object]
) -> Callable[[np.ndarray | None, int], object]:
    """Answers of the package: to an output for a sample, or that of the float file."""
    session, known = Session(path), dict[tuple[bytes, int], object]()

    def answer(output: np.ndarray | None, number: int) -> object:
        key = (b"" if output is None else output.tobytes(), number)
        if key not in known:
            used = session if output is None else _Replayed(output, session)
            known[key] = entry.use(used, samples[number])
        return known[key]

    return answer
