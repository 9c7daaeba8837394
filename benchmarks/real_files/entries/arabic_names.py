"""Names in Arabic script, written in Latin letters: an encoder and a decoder with GRUs."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.real_files.entry import Entry
from benchmarks.real_files.inputs.names import ARABIC
from benchmarks.real_files.scores import cosine
from benchmarks.real_files.session import Session
from benchmarks.real_files.wheels import Wheel

_FOLDER = "arabic_name_romanizer/resources"
_WIDTH = 12
_LONGEST = 12


@dataclass(frozen=True)
class Name:
    """A name.

    Attributes:
        letters: (1, 12): the letters as numbers, after the tokens that say what it is.
        padded: (1, 12): where there are none.
        memory: What the encoder makes of it, for the decoder.
    """

    letters: np.ndarray
    padded: np.ndarray
    memory: tuple[np.ndarray, ...] = ()


def names(wheel: Wheel) -> list[Name]:
    """Names of different lengths."""
    tokens = json.loads(wheel.text(f"{_FOLDER}/vocab.json"))["tokens"]
    numbers = {token: i for i, token in enumerate(tokens)}
    found = []
    for name in ARABIC:
        start = [numbers["<UNK_COUNTRY>"], numbers["<ROLE_UNKNOWN>"]]
        row = [*start, *(numbers.get(letter, 3) for letter in name), numbers["<EOS>"]]
        letters = np.zeros((1, _WIDTH), np.int64)
        letters[0, : len(row)] = row
        found.append(Name(letters, letters == 0))
    return found


def encoded_names(wheel: Wheel) -> list[Name]:
    """The same, with the float encoder's memory of each."""
    encoder = Session(wheel.file(f"{_FOLDER}/encoder.onnx"))
    return [
        Name(name.letters, name.padded, tuple(encoder(name.letters, name.padded)))
        for name in names(wheel)
    ]


def encode(session: Session, name: Name) -> np.ndarray:
    """What the encoder remembers."""
    memory, _, hidden = session(name.letters, name.padded)
    return np.concatenate([memory[~name.padded].ravel(), hidden.ravel()])


def decode(session: Session, name: Name) -> np.ndarray:
    """Probabilities of every letter while the likeliest ones are written."""
    memory, padded, hidden = name.memory
    written, found = np.full((1, 1), 1, np.int64), []
    for _ in range(_LONGEST):
        scores, hidden = session(written, memory, padded, hidden)
        found.append(np.exp(scores[0]))
        written = np.hstack([written, scores.argmax(1)[None].astype(np.int64)])
        if scores.argmax() == 2:
            break
    return np.stack([*found, *[np.zeros_like(found[0])] * (_LONGEST - len(found))])


def _entry(
    name: str, samples: Callable[[Wheel], list[Name]], use: Callable[[Session, Name], np.ndarray]
) -> Entry:
    return Entry(
        name=f"arabic-name {name}",
        requirement="arabic-name-romanizer==0.2.0",
        member=f"{_FOLDER}/{name}.onnx",
        samples=samples,
        calibrate=24,
        use=use,
        same=cosine,
        metric="cosine",
        least=0.97,
    )


FILES = (_entry("encoder", names, encode), _entry("decoder", encoded_names, decode))
