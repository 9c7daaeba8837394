"""ModelOpt's quantization of ONNX files: int8, entropy ranges, as its guide has it."""

import sys

import numpy as np
from modelopt.onnx.quantization import quantize  # pyright: ignore[reportMissingImports]


def main() -> None:
    """Quantize one file."""
    model, samples, result = sys.argv[1:]
    with np.load(samples) as arrays:
        data = dict(arrays)
    quantize(
        model,
        quantize_mode="int8",
        calibration_data=data,
        calibration_method="entropy",
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",  # half precision is for GPUs
        output_path=result,
    )


if __name__ == "__main__":
    main()
