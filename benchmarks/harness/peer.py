"""onnxruntime's own static quantization, for comparison. It needs data, ours does not."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor


class _Reader(CalibrationDataReader):
    """Hands out images one by one."""

    def __init__(self, name: str, images: Tensor) -> None:
        self.feeds: Iterator[dict[str, np.ndarray]] = (
            {name: image.numpy()} for image in images.split(1)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next feed, or None at the end."""
        return next(self.feeds, None)


def quantize_with_onnxruntime(float_path: Path, path: Path, images: Tensor) -> Path:
    """Quantize a float file as onnxruntime's documentation advises for convolutional networks.

    QDQ format, uint8 activations, int8 weights per channel, min-max ranges.

    Args:
        float_path: The float file.
        path: Where the quantized file goes.
        images: What it is calibrated on, (n, 3, size, size).
    """
    prepared = path.with_suffix(".prepared.onnx")
    logging.disable(logging.WARNING)  # advice about steps that are taken below
    quant_pre_process(float_path, prepared)
    session = ort.InferenceSession(prepared, providers=["CPUExecutionProvider"])
    quantize_static(
        prepared,
        path,
        _Reader(session.get_inputs()[0].name, images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    logging.disable(logging.NOTSET)
    return path
