"""Choices that are words: the command line lists them without loading PyTorch."""

from typing import Literal, get_args

RuntimeName = Literal["onnxruntime", "openvino", "executorch", "pytorch"]  # what runs a file
SchemeName = Literal[
    "onnxruntime-cpu",
    "onnxruntime-vnni",
    "onnxruntime-weights",
    "openvino-cpu",
    "executorch-xnnpack",
    "executorch-dynamic",
    "arm-dotprod",
    "tensorrt",
    "dfq-paper",
]
BatchNormMode = Literal["folded", "kept"]  # in a training
Distance = Literal["auto", "kl", "mse"]  # between outputs, in a training
Precision = Literal["bf16", "fp16"]  # mixed with float32, in a training
Storage = Literal["int8", "int4"]  # how weights are stored in a file
BudgetRule = Literal["least loss", "equal loss"]  # how parts share a budget
Method = Literal["svd", "spatial", "cp", "depthwise", "tucker", "tensor_train"]  # of layers
GateKind = Literal["vib", "bayes", "l0"]  # gates that learn which channels to remove
WayName = Literal["prune"] | Method | Literal["drop"] | GateKind  # to compress
# what decides which channels are removed first
ScoreKind = Literal["fisher", "taylor", "magnitude", "batchnorm", "lasso"]

METHODS: tuple[Method, ...] = get_args(Method)
KINDS: tuple[GateKind, ...] = get_args(GateKind)
BUDGET_RULES: tuple[BudgetRule, ...] = get_args(BudgetRule)
SCORES: tuple[ScoreKind, ...] = get_args(ScoreKind)
# Smallest and largest value of pictures: in 0…255, and normalized with ImageNet's mean and std.
PICTURE_RANGES: dict[str, tuple[float, float]] = {
    "pixels": (0.0, 255.0),
    "imagenet": (-2.118, 2.64),
}
WAYS: tuple[WayName, ...] = ("prune", *METHODS, "drop", *KINDS)

# The description of each scheme of `tersor.quant.schemes`.
TARGETS: dict[SchemeName, str] = {
    "onnxruntime-cpu": "uint8 activations, int8 weights per channel; exact on every CPU, with or "
    "without VNNI",
    "onnxruntime-vnni": "the same with the full weight range; saturates on x86 CPUs without VNNI",
    "onnxruntime-weights": "int8 weights per channel, which become floats when the file is loaded; "
    "every layer computes in float, as fast as in the float file",
    "openvino-cpu": "uint8 activations, int8 weights per channel for OpenVINO; exact on every CPU",
    "executorch-xnnpack": "int8 activations, int8 weights per channel for ExecuTorch on phones; a "
    ".pte file that runs in XNNPACK",
    "executorch-dynamic": "linear layers with int8 or int4 weights for ExecuTorch, and a range of "
    "its own for each row that they read, for transformers; a .pte file that runs in XNNPACK",
    "arm-dotprod": "the same for onnxruntime on ARM CPUs, whose dot products never saturate; "
    "we have not run it",
    "tensorrt": "int8 activations and weights, all zero points 0, for NVIDIA GPUs; we have not run "
    "it",
    "dfq-paper": "one scale per layer, as in the DFQ paper; exact with session.x64quantprecision=1",
}
