"""Speech and music: spoken by espeak-ng where it is installed, else vowels made of harmonics."""

import io
import shutil
import subprocess
import wave

import numpy as np

from benchmarks.real_files.inputs.writing import sentences

RATE = 16000
_VOICES = ("en-us", "en-gb", "en-us+f3", "en-gb+m3", "de", "en-us+f2", "fr", "en-gb+f4")
_FORMANTS = ((730, 1090), (270, 2290), (300, 870), (660, 1720), (570, 840))  # a, i, u, æ, o


def where_from() -> str:
    """Say where the speech comes from."""
    if shutil.which("espeak-ng"):
        return "speech of espeak-ng"
    return "vowels made of harmonics, since espeak-ng is not installed"


def speech(count: int, seconds: float = 6.0, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Recordings at 16 kHz with pauses and noise, and where in them somebody speaks.

    Args:
        count: How many.
        seconds: Of each.
        seed: Of all choices.

    Returns:
        For each, the sound in −1…1, and a truth value for every moment of it.
    """
    generator = np.random.default_rng(seed)
    spoken = sentences(2 * count)
    return [
        _recording(spoken[2 * i : 2 * i + 2], _VOICES[i % len(_VOICES)], seconds, generator)
        for i in range(count)
    ]


def music(count: int, samples: int, rate: int, seed: int = 0) -> list[np.ndarray]:
    """Notes of plucked strings, one to four at a time, in −1…1."""
    generator = np.random.default_rng(seed)
    return [_tune(samples, rate, generator) for _ in range(count)]


def _recording(
    texts: list[str], voice: str, seconds: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    length = int(seconds * RATE)
    sound, spoken = np.zeros(length, np.float32), np.zeros(length, bool)
    at = int(generator.uniform(0.3, 1.0) * RATE)
    for text in texts:
        voiced = _say(text, voice, generator)[: min(int(2.2 * RATE), length - at)]
        voiced = voiced * generator.uniform(0.3, 1.0)
        sound[at : at + len(voiced)] += voiced
        if not len(voiced):
            break
        loud = np.convolve(np.abs(voiced), np.ones(400) / 400, "same") > 0.01
        spoken[at : at + len(voiced)] |= loud
        at = min(at + len(voiced) + int(generator.uniform(0.6, 1.2) * RATE), length)
    noise = generator.normal(0, 10 ** generator.uniform(-4, -2.3), length)
    return (sound + noise).astype(np.float32), spoken


def _say(text: str, voice: str, generator: np.random.Generator) -> np.ndarray:
    if program := shutil.which("espeak-ng"):
        return _espeak(program, text, voice, int(generator.integers(140, 200)))
    pitch = generator.uniform(90, 220)
    vowels = [_vowel(pitch, *_FORMANTS[ord(letter) % 5], generator) for letter in text[::5]]
    return np.concatenate([np.zeros(0, np.float32), *vowels])


def _espeak(program: str, text: str, voice: str, speed: int) -> np.ndarray:
    command = [program, "-v", voice, "-s", str(speed), "--stdout", text]
    found = subprocess.run(command, check=True, capture_output=True, timeout=60)  # noqa: S603
    with wave.open(io.BytesIO(found.stdout)) as recording:
        rate = recording.getframerate()
        sound = np.frombuffer(found.stdout[44:], np.int16).astype(np.float32) / 32768
    moments = np.arange(int(len(sound) * RATE / rate)) * rate / RATE
    return np.interp(moments, np.arange(len(sound)), sound).astype(np.float32)


def _vowel(pitch: float, first: int, second: int, generator: np.random.Generator) -> np.ndarray:
    time = np.arange(int(generator.uniform(0.12, 0.25) * RATE)) / RATE
    bend = pitch * (1 + 0.03 * np.sin(2 * np.pi * 5 * time))
    phase = 2 * np.pi * np.cumsum(bend) / RATE
    sound = np.zeros_like(time)
    for k in range(1, int(4000 / pitch)):
        near = sum(1 / (1 + ((k * pitch - f) / 90) ** 2) for f in (first, second, 2600))
        sound += near * np.sin(k * phase)
    envelope = np.hanning(len(time)) ** 0.3
    return (0.2 * sound * envelope / np.abs(sound).max()).astype(np.float32)


def _tune(samples: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    sound = generator.normal(0, 10 ** generator.uniform(-5, -3), samples)
    at = 0
    while at < samples:
        for _ in range(int(generator.integers(1, 5))):
            sound[at:] += _note(samples - at, rate, generator)
        at += int(generator.uniform(0.15, 0.6) * rate)
    return (sound / np.abs(sound).max() * generator.uniform(0.2, 0.9)).astype(np.float32)


def _note(samples: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    """Harmonics that fade, the higher ones faster."""
    frequency = 440 * 2 ** ((int(generator.integers(40, 85)) - 69) / 12)
    time = np.arange(samples) / rate
    decay, loud = generator.uniform(1.5, 5), generator.uniform(0.2, 1)
    sound = np.zeros(samples)
    for k in range(1, 1 + min(12, int(rate / 2.2 / frequency))):
        sound += np.exp(-decay * k**0.5 * time) * np.sin(2 * np.pi * k * frequency * time) / k
    return loud * sound * np.minimum(time / 0.005, 1)
