"""Loads models and results from files; every verb takes the name of a file for a model."""

from pathlib import Path
from typing import TypeVar

from torch import nn
from torch.export import ExportedProgram

from tersor.checked import checked
from tersor.frontend.capture import Example
from tersor.frontend.load import check_options
from tersor.frontend.load import load as load_model
from tersor.frontend.onnx.fixed_inputs import Fixed
from tersor.results.compressed import Compressed
from tersor.results.keepable import SUFFIX
from tersor.results.kept_result import load_result
from tersor.results.quantized import Quantized

T = TypeVar("T")
Loaded = nn.Module | ExportedProgram


@checked()
def load(
    spec: str | Path,
    *,
    dequantize: bool = False,
    fix: Fixed | None = None,
    custom_ops: str | Path | None = None,
) -> tuple[Loaded, Example] | Quantized | Compressed:
    """Load a model, and its example inputs if it has some; or a result that `save` wrote.

    Args:
        spec: A `.pt2` file that `torch.export.save` wrote, an `.onnx` file, or `module:function`,
            a function in the user's own code that returns a model or a pair `(model, example)`. Or
            a `.tersor` file.
        dequantize: Convert a quantized `.onnx` file back to float: DequantizeLinear of stored
            integers becomes a float weight, and QuantizeLinear/DequantizeLinear pairs are removed.
            A range that begins at 0 becomes a clip if nothing else prevents negative values.
        fix: Values for inputs of an `.onnx` file, by name, such as `{"sr": 16000}`. The model and
            the files written from it then have no such input, and branches that depend on it are
            gone.
        custom_ops: A library of custom ops for onnxruntime that an `.onnx` file needs. It is code
            that runs in this process.

    Returns:
        Of a model, the model, and the example or None. Of a `.tersor` file, the result itself, as
        `quantize`, `train` or `compress` returned it.

    Raises:
        InvalidInputError: The file or function does not exist, an option is given for something
            other than an `.onnx` file, or `fix` names no input.
        InvalidModelError: The file is damaged, or the function returns no model.
        UnsupportedError: Files of this kind cannot be loaded, or a newer Tersor wrote it.
    """
    check_options(str(spec), dequantize, fix, custom_ops)
    if str(spec).endswith(SUFFIX):
        return load_result(spec)
    return load_model(spec, dequantize=dequantize, fix=fix, custom_ops=custom_ops)


def opened(
    model: T | str | Path,
    example: Example = None,
    *,
    dequantize: bool = False,
    fix: Fixed | None = None,
    custom_ops: str | Path | None = None,
) -> tuple[T | Loaded | Quantized | Compressed, Example]:
    """Load a model if it is the name of a file; its example is used unless another is given.

    Args:
        model: What a verb was given.
        example: The example inputs that it was given.
        dequantize: See `load`.
        fix: See `load`.
        custom_ops: See `load`.

    Raises:
        TersorError: As `load`.
    """
    if not isinstance(model, str | Path):
        return model, example
    found = load(model, dequantize=dequantize, fix=fix, custom_ops=custom_ops)
    if not isinstance(found, tuple):
        return found, example
    return found[0], found[1] if example is None else example
