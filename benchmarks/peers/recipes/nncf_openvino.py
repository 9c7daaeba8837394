"""NNCF for OpenVINO: mixed preset, all samples, one at a time."""

import sys

import nncf  # pyright: ignore[reportMissingImports]
import numpy as np
import openvino as ov


def main() -> None:
    """Quantize one file with one input."""
    model, samples, result = sys.argv[1:]
    with np.load(samples) as arrays:
        (inputs,) = arrays.values()
    found = nncf.quantize(
        ov.convert_model(model),
        nncf.Dataset(list(inputs[:, None])),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
    )
    ov.save_model(found, result)


if __name__ == "__main__":
    main()
