"""onnxruntime's static quantization, as its documentation advises: prepared, QDQ, per channel.

Where symbolic shapes cannot be inferred, they are left out, as it says.
"""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Reader(CalibrationDataReader):
    """Hands out samples, one after the other."""

    def __init__(self, path: str) -> None:
        """Read an .npz file with one array for each input."""
        self._feeds = _feeds(path)

    def get_next(self) -> dict[str, np.ndarray] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The next sample, or None at the end."""
        return next(self._feeds, None)


def _feeds(path: str) -> Iterator[dict[str, np.ndarray]]:
    with np.load(path) as arrays:
        inputs = dict(arrays)
    for index in range(len(next(iter(inputs.values())))):
        yield {name: x[index : index + 1] for name, x in inputs.items()}


def main() -> None:
    """Quantize one file."""
    model, samples, result = sys.argv[1:]
    logging.disable(logging.WARNING)
    prepared = Path(result).with_suffix(".prepared.onnx")
    try:
        quant_pre_process(model, prepared)
    except Exception:  # noqa: BLE001
        quant_pre_process(model, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        result,
        Reader(samples),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


if __name__ == "__main__":
    main()
