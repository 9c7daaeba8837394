"""Choices that are words: the command line lists them without loading PyTorch."""

from typing import Literal, get_args

Storage = Literal["int8", "int4"]  # how weights are stored in a file
Rule = Literal["least loss", "equal loss"]  # how parts share a budget
Method = Literal["svd", "spatial", "cp", "tucker", "tensor_train"]  # decompositions
GateKind = Literal["vib", "bayes", "l0"]  # gates that learn which channels to remove
# what decides which channels are removed first
ScoreKind = Literal["fisher", "taylor", "magnitude", "batchnorm", "lasso"]

METHODS: tuple[Method, ...] = get_args(Method)
KINDS: tuple[GateKind, ...] = get_args(GateKind)
RULES: tuple[Rule, ...] = get_args(Rule)
SCORES: tuple[ScoreKind, ...] = get_args(ScoreKind)
WAYS = ("prune", *METHODS, *KINDS)  # methods of compression

# The description of each scheme of `tersor.quant.schemes`.
TARGETS = {
    "onnxruntime-cpu": "uint8 activations, int8 weights per channel; exact on every CPU, with or "
    "without VNNI",
    "onnxruntime-vnni": "the same with the full weight range; saturates on x86 CPUs without VNNI",
    "openvino-cpu": "uint8 activations, int8 weights per channel for OpenVINO; exact on every CPU",
    "arm-dotprod": "the same for onnxruntime on ARM CPUs, whose dot products never saturate; "
    "we have not run it",
    "tensorrt": "int8 activations and weights, all zero points 0, for NVIDIA GPUs; we have not run "
    "it",
    "dfq-paper": "one scale per layer, as in the DFQ paper; exact with session.x64quantprecision=1",
}
