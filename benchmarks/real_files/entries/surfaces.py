"""Small dense networks behind a Scaler of scikit-learn: how well would a learner do?"""

import numpy as np

from benchmarks.real_files.entry import Entry, Score
from benchmarks.real_files.session import Session

_HIGH = {
    "gradient_boosting_regressor": (10, 1, 30, 200),
    "k_neighbors_classifier": (150, 4, 10, 3),
    "k_neighbors_regressor": (150, 3, 2, 10),
}
_TOLERANCE = 0.02


def _samples(high: tuple[int, ...]) -> list[np.ndarray]:
    """Settings of a learner, drawn from their ranges."""
    generator = np.random.default_rng(0)
    rows = generator.integers(0, high, (160, 4))
    return [row[None].astype(np.float32) for row in rows]


def use(session: Session, sample: np.ndarray) -> float:
    """The quality that is foretold."""
    (output,) = session(sample)
    return float(output[0, 0])


def same(reference: float, answer: float) -> Score:
    """As good as the same: the qualities differ by at most 0.02."""
    return float(abs(reference - answer) <= _TOLERANCE), 1.0


FILES = tuple(
    Entry(
        name=f"surfaces {name}",
        requirement="surfaces-onnx-files==0.0.1",
        member=f"surfaces_onnx_files/{name}.onnx",
        samples=lambda _, high=high: _samples(high),
        calibrate=32,
        use=use,
        same=same,
        metric="within 0.02",
        least=0.9,
        mostly_weights=False,
    )
    for name, high in _HIGH.items()
)
