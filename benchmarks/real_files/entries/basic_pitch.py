"""Which notes sound when: a constant-Q transform as convolutions, and small convolutions."""

import numpy as np

from benchmarks.real_files.entry import Entry
from benchmarks.real_files.inputs.sound import music
from benchmarks.real_files.scores import overlap
from benchmarks.real_files.session import Session
from benchmarks.real_files.wheels import Wheel

_RATE, _SAMPLES = 22050, 43844


def samples(_: Wheel) -> list[np.ndarray]:
    """Two seconds each of plucked strings, at 22,050 Hz."""
    return [sound[None, :, None] for sound in music(24, _SAMPLES, _RATE)]


def use(session: Session, sample: np.ndarray) -> np.ndarray:
    """Where a note sounds: (172, 88)."""
    outputs = dict(zip(session.outputs, session(sample), strict=True))
    return outputs["StatefulPartitionedCall:1"][0] >= 0.3


NOTES = Entry(
    name="basic-pitch",
    requirement="basic-pitch==0.4.0",
    member="basic_pitch/saved_models/icassp_2022/nmp.onnx",
    samples=samples,
    calibrate=8,
    use=use,
    same=overlap,
    metric="note IoU",
    least=0.9,
    mostly_weights=False,
)
