"""Tersor for OpenVINO: `tersor quantize MODEL --scheme openvino-cpu --data SAMPLES -o RESULT`."""

import sys

import numpy as np

import tersor


def main() -> None:
    """Quantize one file."""
    model, samples, result = sys.argv[1:]
    with np.load(samples) as arrays:
        data = dict(arrays)
    tersor.quantize(model, data=data, scheme="openvino-cpu").export(result)


if __name__ == "__main__":
    main()
