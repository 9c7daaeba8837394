"""Loads a model from a file, or from the user's own code, named by one string."""

from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram

from tersor.checked import checked
from tersor.errors import InvalidInputError, InvalidModelError, UnsupportedError
from tersor.frontend.capture import Example
from tersor.frontend.explain import quiet
from tersor.frontend.onnx.fixed_inputs import Fixed
from tersor.frontend.onnx.model import OnnxModel, read_model
from tersor.frontend.own_code import find_function, in_short, is_function
from tersor.graph.carried_model import use_library


@checked()
def load(
    spec: str | Path,
    *,
    dequantize: bool = False,
    fix: Fixed | None = None,
    custom_ops: str | Path | None = None,
) -> tuple[nn.Module | ExportedProgram, Example]:
    """Load a model, and its example inputs if it has some; see `tersor.load`.

    Args:
        spec: A `.pt2` file, an `.onnx` file, or `module:function`.
        dequantize: Convert a quantized `.onnx` file back to float.
        fix: Values for inputs of an `.onnx` file, by name.
        custom_ops: A library of custom ops for onnxruntime that an `.onnx` file needs.

    Returns:
        The model, and the example or None.

    Raises:
        TersorError: As `tersor.load`.
    """
    text = str(spec)
    check_options(text, dequantize, fix, custom_ops)
    if is_function(text):
        return _from_code(text)
    path = Path(text)
    if path.suffix == ".onnx":
        if custom_ops is not None:
            use_library(custom_ops)
        with quiet():
            return read_model(path, dequantize, fix), None
    if path.suffix in (".pt", ".pth", ".safetensors", ".ckpt", ".bin"):
        raise UnsupportedError(
            f"{text!r} holds weights without their network: write a function that builds the "
            "network and loads them, and name it as module:function, such as mycode:make"
        )
    if path.suffix != ".pt2":
        raise UnsupportedError(
            f"{text!r}: expected a .pt2 file from torch.export.save, an .onnx file, or "
            "module:function"
        )
    if not path.is_file():
        raise InvalidInputError(f"{text!r}: there is no such file")
    from tersor.frontend.pt2 import load_program  # loads what no other file needs

    return load_program(path), None


def check_options(
    text: str, dequantize: bool, fix: Fixed | None, custom_ops: str | Path | None
) -> None:
    """Refuse options of `.onnx` files for anything else.

    Args:
        text: What is loaded.
        dequantize: See `load`.
        fix: See `load`.
        custom_ops: See `load`.

    Raises:
        InvalidInputError: Names the option.
    """
    given = {"dequantize": dequantize, "fix": fix, "custom_ops": custom_ops}
    idle = [name for name, value in given.items() if value]
    if idle and not text.endswith(".onnx"):
        kind = "quantized .onnx" if dequantize else ".onnx"
        raise InvalidInputError(f"{text!r}: {idle[0]} is for {kind} files; leave it out")


def input_types(model: nn.Module | ExportedProgram) -> list[torch.dtype]:
    """The dtypes of a loaded model's inputs in order; empty if the model does not say.

    Args:
        model: What `load` returned.
    """
    if isinstance(model, OnnxModel):
        return [x.dtype for x in model.inputs]
    if not isinstance(model, ExportedProgram):
        return []
    given = set(model.graph_signature.user_inputs)
    values = [
        n.meta.get("val") for n in model.graph.find_nodes(op="placeholder") if n.name in given
    ]
    return [x.dtype for x in values if isinstance(x, torch.Tensor)]


def _from_code(spec: str) -> tuple[nn.Module | ExportedProgram, Example]:
    function = find_function(spec)
    try:
        result = function()
    except (Exception, SystemExit) as error:
        raise InvalidModelError(
            f"{spec} failed with {in_short(error)}; call it by itself first"
        ) from error
    model, example = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    if not isinstance(model, nn.Module | ExportedProgram):
        raise InvalidModelError(
            f"{spec} returned {type(model).__name__}; it must return a torch.nn.Module, or a pair "
            "(model, example)"
        )
    return model, example
