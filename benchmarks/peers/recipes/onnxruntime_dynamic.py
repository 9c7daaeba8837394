"""onnxruntime's dynamic quantization: each run finds the ranges of its activations."""

import logging
import sys
from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process


def main() -> None:
    """Quantize one file; the samples are not needed."""
    model, _, result = sys.argv[1:]
    logging.disable(logging.WARNING)
    prepared = Path(result).with_suffix(".prepared.onnx")
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    quantize_dynamic(prepared, result, per_channel=True, weight_type=QuantType.QInt8)


if __name__ == "__main__":
    main()
