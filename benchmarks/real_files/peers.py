"""onnxruntime's own ways to quantize a file, as a program: kind, file, result, folder of feeds.

The file is converted to an opset that can hold weights per channel if it is of an older one, and
prepared as onnxruntime's documentation says.
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.real_files.session import Feed

_OLDEST, _NEWER = 13, 17


class Reader(CalibrationDataReader):
    """Hands out feeds, one after the other."""

    def __init__(self, folder: Path) -> None:
        """Read from a folder of .npz files."""
        self._paths = iter(sorted(folder.glob("*.npz")))

    def get_next(self) -> Feed | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The next feed, or None at the end."""
        path = next(self._paths, None)
        if path is None:
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)


def prepared(path: Path, result: Path) -> Path:
    """Convert and prepare a file; steps that fail on it are left out.

    Args:
        path: The float file.
        result: Where the quantized file will be; what is prepared lies beside it.
    """
    model = onnx.load(path)
    opset = max(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    if opset < _OLDEST:
        model = onnx.version_converter.convert_version(model, _NEWER)
    converted = result.with_suffix(".converted.onnx")
    onnx.save(model, converted)
    ready = result.with_suffix(".prepared.onnx")
    for symbolic in (False, True):
        try:
            quant_pre_process(converted, ready, skip_symbolic_shape=symbolic)
        except Exception as error:  # noqa: BLE001
            print(f"quant_pre_process: {error}", file=sys.stderr)
        else:
            return ready
    return converted


def static(path: Path, result: Path, feeds: Path) -> None:
    """QDQ format, uint8 activations, int8 weights per channel, min-max ranges."""
    quantize_static(
        prepared(path, result),
        result,
        Reader(feeds),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def dynamic(path: Path, result: Path, _: Path) -> None:
    """Int8 weights per channel; ranges of activations are found anew in each run."""
    quantize_dynamic(prepared(path, result), result, per_channel=True, weight_type=QuantType.QInt8)


KINDS: dict[str, Callable[[Path, Path, Path], None]] = {"static": static, "dynamic": dynamic}


def main() -> None:
    """Quantize one file."""
    kind, *paths = sys.argv[1:]
    logging.disable(logging.WARNING)
    KINDS[kind](*(Path(path) for path in paths))


if __name__ == "__main__":
    main()
