"""AIMET's AdaRound: 4-bit weights per channel, 15,000 steps a layer, as it advises for 4 bits."""

import sys

import numpy as np
import onnx
from aimet_onnx import (  # pyright: ignore[reportMissingImports]
    QuantizationSimModel,
    apply_adaround,
    int4,
    int8,
)
from aimet_onnx.common.quantsim_config.utils import (  # pyright: ignore[reportMissingImports]
    get_path_for_per_channel_config,
)
from aimet_onnx.cross_layer_equalization import (  # pyright: ignore[reportMissingImports]
    equalize_model,
)

_STEPS = 15_000
_BATCH = 32


def main() -> None:
    """Quantize one file."""
    path, samples, result = sys.argv[1:]
    with np.load(samples) as arrays:
        inputs = dict(arrays)
    starts = range(0, len(next(iter(inputs.values()))), _BATCH)
    feeds = [{name: x[start : start + _BATCH] for name, x in inputs.items()} for start in starts]
    model = onnx.load(path)
    equalize_model(model)
    sim = QuantizationSimModel(
        model,
        param_type=int4,
        activation_type=int8,
        config_file=get_path_for_per_channel_config(),
    )
    apply_adaround(sim, feeds, _STEPS)
    sim.compute_encodings(feeds)
    onnx.save(sim.to_onnx_qdq(export_int32_bias=True, prequantize_constants=True), result)


if __name__ == "__main__":
    main()
