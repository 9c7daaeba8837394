"""Quark's ONNX quantizer: uint8 activations, int8 weights per channel, equalized."""

import sys
from collections.abc import Iterator

import numpy as np
from onnxruntime.quantization import CalibrationDataReader
from quark.onnx import (  # pyright: ignore[reportMissingImports]
    CLEConfig,
    Int8Spec,
    ModelQuantizer,
    QConfig,
    QLayerConfig,
    UInt8Spec,
)
from quark.onnx.quantization.config.spec import (  # pyright: ignore[reportMissingImports]
    QuantGranularity,
)


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
    weight = Int8Spec(quant_granularity=QuantGranularity.Channel)
    config = QConfig(
        global_config=QLayerConfig(activation=UInt8Spec(), weight=weight),
        algo_config=[CLEConfig()],
    )
    ModelQuantizer(config).quantize_model(model, result, Reader(samples))


if __name__ == "__main__":
    main()
