"""Runs NNCF's accuracy control in an environment of its own; `nncf_peer` starts it.

The metric is 1 minus noise over signal of the worst part of the output, so a drop of 0.01 is
20 dB.
"""

import sys
from collections.abc import Iterable
from itertools import pairwise

import nncf
import numpy as np
import onnx
import onnx.version_converter
import onnxruntime as ort

_OPSET = 13  # the first in which NNCF quantizes weights per channel


def main(source: str, target: str, samples: str, drop: str, *cuts: str) -> None:
    """Quantize a file.

    Args:
        source: The float file.
        target: Where the quantized file goes.
        samples: An archive of `learned` and `held`, along the first axis.
        drop: Largest noise over signal.
        cuts: Where parts of the output begin along its second axis.
    """
    with np.load(samples, allow_pickle=False) as arrays:
        learned, held = ([x[None] for x in arrays[name]] for name in ("learned", "held"))
    model = onnx.version_converter.convert_version(onnx.load(source), _OPSET)
    name = _session(model).get_inputs()[0].name
    edges = [*map(int, cuts), None]

    def run(wanted: onnx.ModelProto, given: Iterable[np.ndarray]) -> np.ndarray:
        session = _session(wanted)
        return np.concatenate([session.run(None, {name: x})[0] for x in given]).astype(np.float64)

    reference = run(model, held)

    def validate(wanted: onnx.ModelProto, given: Iterable[np.ndarray]) -> tuple[float, None]:
        noise = run(wanted, given) - reference
        ratios = [
            np.square(noise[:, a:b]).sum() / np.square(reference[:, a:b]).sum()
            for a, b in pairwise(edges)
        ]
        return 1 - float(max(ratios)), None

    quantized = nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=nncf.Dataset(learned, lambda x: {name: x}),
        validation_dataset=nncf.Dataset(held, lambda x: {name: x}),
        validation_fn=validate,
        max_drop=float(drop),
        drop_type=nncf.DropType.ABSOLUTE,
    )
    onnx.save(quantized, target)


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    return ort.InferenceSession(model.SerializeToString(), options, providers=providers)


if __name__ == "__main__":
    main(*sys.argv[1:])
