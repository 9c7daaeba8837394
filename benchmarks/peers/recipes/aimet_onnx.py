"""AIMET's ONNX quantizer: equalized, int8 weights per channel, ranges from the samples."""

import sys

import numpy as np
import onnx
from aimet_onnx import QuantizationSimModel  # pyright: ignore[reportMissingImports]
from aimet_onnx.common.quantsim_config.utils import (  # pyright: ignore[reportMissingImports]
    get_path_for_per_channel_config,
)
from aimet_onnx.cross_layer_equalization import (  # pyright: ignore[reportMissingImports]
    equalize_model,
)


def main() -> None:
    """Quantize one file."""
    path, samples, result = sys.argv[1:]
    with np.load(samples) as arrays:
        inputs = dict(arrays)
    count = len(next(iter(inputs.values())))
    feeds = [{name: x[index : index + 1] for name, x in inputs.items()} for index in range(count)]
    model = onnx.load(path)
    if not any(node.op_type == "Clip" for node in model.graph.node):  # it makes ReLU of ReLU6
        equalize_model(model)
    sim = QuantizationSimModel(model, config_file=get_path_for_per_channel_config())
    sim.compute_encodings(feeds)
    onnx.save(sim.to_onnx_qdq(export_int32_bias=True, prequantize_constants=True), result)


if __name__ == "__main__":
    main()
