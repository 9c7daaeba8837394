"""From PyTorch weights: whose voice it is (Resemblyzer), and what is a face (facenet-pytorch)."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.real_files.entry import Entry, Score
from benchmarks.real_files.inputs.sound import RATE, speech
from benchmarks.real_files.networks.loaded import FACENET, RESEMBLYZER
from benchmarks.real_files.scores import cosine, equal
from benchmarks.real_files.session import Session
from benchmarks.real_files.wheels import Wheel

_WINDOW, _HOP, _BANDS, _FRAMES = 400, 160, 40, 160
_LOUDNESS = 10 ** (-30 / 20)  # −30 dB of full scale


def utterances(_: Wheel) -> list[np.ndarray]:
    """Mel spectrograms of 1.6 seconds of speech each: (1, 160, 40)."""
    found = []
    for sound, spoken in speech(24, 6.0, seed=9):
        voiced = sound[spoken]
        voiced = voiced * max(1.0, _LOUDNESS / np.sqrt(np.square(voiced).mean()))
        mels = _mels(np.resize(voiced, RATE * 4))
        found += [mels[None, :_FRAMES], mels[None, _FRAMES : 2 * _FRAMES]]
    return found


def _mels(sound: np.ndarray) -> np.ndarray:
    """Power in 40 bands, every 10 ms, as librosa's `melspectrogram` gives it."""
    padded = np.pad(sound, _WINDOW // 2)
    starts = range(0, len(padded) - _WINDOW + 1, _HOP)
    frames = np.stack([padded[start : start + _WINDOW] for start in starts])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    return (power @ _bands().T).astype(np.float32)


@cache
def _bands() -> np.ndarray:
    """Triangles of area 1 on Slaney's mel scale: (40, 201)."""
    edges = _hertz(np.linspace(0, _mel(RATE / 2), _BANDS + 2))
    frequencies = np.fft.rfftfreq(_WINDOW, 1 / RATE)
    low, middle, high = (edges[i : i + _BANDS, None] for i in range(3))
    rising = (frequencies - low) / (middle - low)
    falling = (high - frequencies) / (high - middle)
    return np.clip(np.minimum(rising, falling), 0, None) * 2 / (high - low)


def _mel(hertz: float) -> float:
    return 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def _hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))


def embed(session: Session, sample: np.ndarray) -> np.ndarray:
    """The vector of a voice."""
    return session(sample)[0]


def pictures(_: Wheel) -> list[tuple[np.ndarray, bool]]:
    """Faces and other parts of photographs, 48 × 48, of scikit-image; and which they are."""
    import skimage.data

    found = np.load(Path(skimage.data.__file__).parent / "lfw_subset.npy", allow_pickle=False)
    order = np.random.default_rng(0).permutation(len(found))
    return [(_picture(found[i]), bool(i < len(found) // 2)) for i in order]


def _picture(grey: np.ndarray) -> np.ndarray:
    image = Image.fromarray((255 * grey).astype(np.uint8)).resize((48, 48))
    pixels = (np.asarray(image, np.float32) - 127.5) / 128
    return np.repeat(pixels[None, None], 3, 1)


def is_face(session: Session, sample: tuple[np.ndarray, bool]) -> bool:
    """Whether it is one."""
    return bool(session(sample[0])[2][0, 1] >= 0.5)


def truth(sample: tuple[np.ndarray, bool], answer: bool) -> Score:
    """Whether a face was taken for one."""
    return equal(sample[1], answer)


VOICE = Entry(
    name="Resemblyzer",
    requirement=RESEMBLYZER,
    module="benchmarks.real_files.networks.loaded:voice",
    samples=utterances,
    calibrate=16,
    use=embed,
    same=cosine,
    metric="cosine",
    least=0.97,
)
FACE = Entry(
    name="facenet-pytorch ONet",
    requirement=FACENET,
    module="benchmarks.real_files.networks.loaded:face",
    samples=pictures,
    calibrate=32,
    use=is_face,
    same=equal,
    metric="same decision",
    least=0.97,
    truth=truth,
)
