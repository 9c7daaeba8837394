"""NNCF for OpenVINO with accuracy control: at most one sample in a hundred may change its class.

The samples have no labels, so the truth is what the float file says of them.
"""

import sys
from collections.abc import Iterable

import nncf  # pyright: ignore[reportMissingImports]
import numpy as np
import openvino as ov

_DROP = 0.01


def main() -> None:
    """Quantize one file with one input."""
    model, samples, result = sys.argv[1:]
    with np.load(samples) as arrays:
        (inputs,) = arrays.values()
    float_model = ov.convert_model(model)
    compiled = ov.compile_model(float_model)
    rows = [(x, int(compiled(x)[0].argmax())) for x in inputs[:, None]]
    found = nncf.quantize_with_accuracy_control(
        float_model,
        calibration_dataset=nncf.Dataset(rows, lambda row: row[0]),
        validation_dataset=nncf.Dataset(rows),
        validation_fn=_same_class,
        max_drop=_DROP,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(rows),
    )
    ov.save_model(found, result)


def _same_class(
    compiled: ov.CompiledModel, rows: Iterable[tuple[np.ndarray, int]]
) -> tuple[float, None]:
    right = [int(compiled(x)[0].argmax()) == wanted for x, wanted in rows]
    return float(np.mean(right)), None


if __name__ == "__main__":
    main()
