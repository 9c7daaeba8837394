"""Silero VAD, in all its files: does somebody speak? Each moment's state goes into the next."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.real_files.entry import Entry, Score
from benchmarks.real_files.inputs.sound import RATE, speech
from benchmarks.real_files.scores import share_equal
from benchmarks.real_files.session import Session
from benchmarks.real_files.wheels import Wheel

_CHUNK, _CONTEXT = 512, 64


@dataclass(frozen=True)
class Sample:
    """A recording.

    Attributes:
        chunks: (n, 576): pieces of 512 samples, each after the last 64 of the piece before.
        spoken: (n,): whether there is speech in most of a piece, in none of it (0), or else (−1).
    """

    chunks: np.ndarray
    spoken: np.ndarray


def samples(_: Wheel) -> list[Sample]:
    """Recordings of six seconds."""
    return [_pieces(sound, spoken) for sound, spoken in speech(12)]


def _pieces(sound: np.ndarray, spoken: np.ndarray) -> Sample:
    count = len(sound) // _CHUNK
    padded = np.concatenate([np.zeros(_CONTEXT, np.float32), sound])
    starts = range(0, count * _CHUNK, _CHUNK)
    chunks = np.stack([padded[start : start + _CHUNK + _CONTEXT] for start in starts])
    share = np.array([spoken[start : start + _CHUNK].mean() for start in starts])
    return Sample(chunks, np.where(share > 0.8, 1, np.where(share == 0, 0, -1)))


def stream(session: Session, sample: Sample, rate: bool) -> np.ndarray:
    """Decisions, one piece at a time."""
    state, found = np.zeros((2, 1, 128), np.float32), []
    for chunk in sample.chunks:
        feed = {"input": chunk[None], "state": state}
        if rate:
            feed["sr"] = np.array(RATE, np.int64)
        output, state = session.run(feed)
        found.append(float(output.ravel()[0]))
    return np.array(found) >= 0.5


def sequence(session: Session, sample: Sample) -> np.ndarray:
    """Decisions, all pieces at once."""
    zeros = np.zeros((1, 1, 128), np.float32)
    return session(sample.chunks, zeros, zeros)[0].ravel() >= 0.5


def truth(sample: Sample, answer: np.ndarray) -> Score:
    """Decisions that are right, where there is speech or silence."""
    known = sample.spoken >= 0
    return float((answer == (sample.spoken == 1))[known].sum()), float(known.sum())


def _entry(name: str, use: Callable[[Session, Sample], np.ndarray], *options: str) -> Entry:
    return Entry(
        name=f"silero_vad{name}",
        requirement="silero-vad==6.2.3",
        member=f"silero_vad/data/silero_vad{name}.onnx",
        samples=samples,
        calibrate=2,
        use=use,
        same=share_equal,
        metric="same decision",
        least=0.97,
        truth=truth,
        options=options,
    )


_WITH, _WITHOUT = partial(stream, rate=True), partial(stream, rate=False)
_FIXED = ("--fix", f"sr={RATE}")
FILES = (
    _entry("", _WITH, *_FIXED),
    _entry("_16k_op15", _WITH, *_FIXED),
    _entry("_16k_sequence", sequence),
    _entry("_half", _WITHOUT),
    _entry("_op18_ifless", _WITH, *_FIXED),
    _entry("_openvino_16k", _WITHOUT),
)
