"""Brevitas in 4 bits: equalized, GPTQ in the order of activations, biases corrected, QCDQ."""

import sys

import numpy as np
import torch
from brevitas.export import export_onnx_qcdq  # pyright: ignore[reportMissingImports]
from brevitas.graph.quantize import (  # pyright: ignore[reportMissingImports]
    preprocess_for_quantize,
)
from brevitas_examples.imagenet_classification.ptq.ptq_common import (  # pyright: ignore[reportMissingImports]
    apply_bias_correction,
    apply_gptq,
    calibrate,
    quantize_model,
)

from benchmarks.zoo.models import MODELS

_BATCH = 32


def main() -> None:
    """Quantize one network."""
    name, samples, result = sys.argv[1:]
    with np.load(samples) as arrays:
        (images,) = map(torch.from_numpy, arrays.values())
    batches = [(part, None) for part in images.split(_BATCH)]
    model = preprocess_for_quantize(MODELS[name].load(), relu6_to_relu=False, equalize_iters=20)
    quantized = quantize_model(
        model,
        backend="layerwise",
        weight_bit_width=4,
        act_bit_width=8,
        bias_bit_width=32,
        weight_quant_granularity="per_channel",
        act_quant_percentile=99.999,
        act_quant_type="sym",
        scale_factor_type="float_scale",
        quant_format="int",
    )
    with torch.no_grad():
        quantized(images[:_BATCH])  # finds the scales of the weights, as its example says
    calibrate(batches, quantized)
    apply_gptq(batches, quantized, act_order=True, create_weight_orig=True)
    apply_bias_correction(batches, quantized)
    export_onnx_qcdq(quantized, args=images[:1], export_path=result, dynamo=False)


if __name__ == "__main__":
    main()
