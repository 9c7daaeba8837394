"""Neural Compressor for ONNX files: static quantization, QDQ, per channel, all samples."""

import sys
from collections.abc import Iterator

import numpy as np
from onnx_neural_compressor import data_reader  # pyright: ignore[reportMissingImports]
from onnx_neural_compressor.quantization import (  # pyright: ignore[reportMissingImports]
    QuantFormat,
    config,
    quantize,
)


class Reader(data_reader.CalibrationDataReader):
    """Hands out samples, one after the other."""

    def __init__(self, path: str) -> None:
        """Read an .npz file with one array for each input."""
        self._path = path
        self.rewind()

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next sample, or None at the end."""
        return next(self._feeds, None)

    def rewind(self) -> None:
        """Begin again."""
        self._feeds = _feeds(self._path)


def _feeds(path: str) -> Iterator[dict[str, np.ndarray]]:
    with np.load(path) as arrays:
        inputs = dict(arrays)
    for index in range(len(next(iter(inputs.values())))):
        yield {name: x[index : index + 1] for name, x in inputs.items()}


def main() -> None:
    """Quantize one file."""
    model, samples, result = sys.argv[1:]
    with np.load(samples) as arrays:
        count = len(next(iter(arrays.values())))
    settings = config.StaticQuantConfig(
        calibration_data_reader=Reader(samples),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        calibration_sampling_size=count,
    )
    quantize(model, result, settings)


if __name__ == "__main__":
    main()
