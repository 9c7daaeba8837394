"""Neural Compressor's static quantization of PyTorch models, exported by PyTorch's exporter."""

import sys

import numpy as np
import torch
from neural_compressor.torch.export import export  # pyright: ignore[reportMissingImports]
from neural_compressor.torch.quantization import (  # pyright: ignore[reportMissingImports]
    convert,
    get_default_static_config,
    prepare,
)

from benchmarks.zoo.models import MODELS

_BATCH = 32


def main() -> None:
    """Quantize one network."""
    name, samples, result = sys.argv[1:]
    with np.load(samples) as arrays:
        (images,) = map(torch.from_numpy, arrays.values())
    axes = ({0: torch.export.Dim("n")},)
    exported = export(MODELS[name].load(), (images[:2],), dynamic_shapes=axes)
    prepared = prepare(exported, quant_config=get_default_static_config())
    with torch.no_grad():
        for part in images.split(_BATCH):
            prepared(part)
    quantized = convert(prepared)
    torch.onnx.export(quantized, (images[:2],), result, dynamic_shapes=axes, external_data=False)


if __name__ == "__main__":
    main()
