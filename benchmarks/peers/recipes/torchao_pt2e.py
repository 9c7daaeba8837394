"""torchao's PT2E quantization for x86, exported by PyTorch's own exporter."""

import sys

import numpy as np
import torch
from torchao.quantization.pt2e import (  # pyright: ignore[reportMissingImports]
    move_exported_model_to_eval,
)
from torchao.quantization.pt2e.quantize_pt2e import (  # pyright: ignore[reportMissingImports]
    convert_pt2e,
    prepare_pt2e,
)
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (  # pyright: ignore[reportMissingImports]
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

from benchmarks.zoo.models import MODELS

_BATCH = 32


def main() -> None:
    """Quantize one network."""
    name, samples, result = sys.argv[1:]
    with np.load(samples) as arrays:
        (images,) = map(torch.from_numpy, arrays.values())
    batch = torch.export.Dim.AUTO
    exported = torch.export.export(MODELS[name].load(), (images[:2],), dynamic_shapes=({0: batch},))
    quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(exported.module(), quantizer)
    with torch.no_grad():
        for part in images.split(_BATCH):
            prepared(part)
    quantized = move_exported_model_to_eval(convert_pt2e(prepared))
    torch.onnx.export(
        quantized, (images[:2],), result, dynamic_shapes=({0: batch},), external_data=False
    )


if __name__ == "__main__":
    main()
