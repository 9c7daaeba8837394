"""Tersor without data; the example is the first two samples, whose range is that of the inputs."""

import sys

import numpy as np
import torch

import tersor


def main() -> None:
    """Quantize one file."""
    model, samples, result = sys.argv[1:]
    with np.load(samples) as arrays:
        example = {name: torch.from_numpy(x[:2]) for name, x in arrays.items()}
    tersor.quantize(model, example).export(result)


if __name__ == "__main__":
    main()
