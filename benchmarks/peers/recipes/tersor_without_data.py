"""Tersor without data; the example is two samples, or one, whose range is that of the inputs."""

import sys

import numpy as np
import onnx
import torch

import tersor


def main() -> None:
    """Quantize one file."""
    model, samples, result = sys.argv[1:]
    batch = (
        onnx.load(model).graph.input[0].type.tensor_type.shape.dim[0].dim_value
    )  # 0 if it is open
    with np.load(samples) as arrays:
        example = {name: torch.from_numpy(x[: batch or 2]) for name, x in arrays.items()}
    tersor.quantize(model, example).export(result)


if __name__ == "__main__":
    main()
