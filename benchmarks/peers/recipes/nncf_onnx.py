"""NNCF's post-training quantization of ONNX files: mixed preset, all samples, one at a time."""

import sys

import nncf  # pyright: ignore[reportMissingImports]
import numpy as np
import onnx


def main() -> None:
    """Quantize one file; a file with more than one input is a transformer."""
    model, samples, result = sys.argv[1:]
    with np.load(samples) as arrays:
        inputs = dict(arrays)
    count = len(next(iter(inputs.values())))
    feeds = [{name: x[index : index + 1] for name, x in inputs.items()} for index in range(count)]
    kind = nncf.ModelType.TRANSFORMER if len(inputs) > 1 else None
    found = nncf.quantize(
        onnx.load(model),
        nncf.Dataset(feeds),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=kind,
        subset_size=count,
    )
    onnx.save(found, result)


if __name__ == "__main__":
    main()
