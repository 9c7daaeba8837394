"""Capture: a PyTorch module becomes a `Network`, through `torch.export` with a free batch size."""

import copy
import inspect
import traceback
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from tersor.errors import CaptureError, InvalidInputError, InvalidModelError
from tersor.graph.functional import functionalize
from tersor.graph.network import Network

Example = Any  # a tensor, a tuple of positional inputs, or a mapping of keyword inputs


def capture(
    model: nn.Module | ExportedProgram,
    example: Example = None,
    kwargs: Mapping[str, Any] | None = None,
) -> Network:
    """Capture a model as a graph of ATen calls with the weights under the user's own names.

    Args:
        model: The model, or a program that `torch.export.load` returned. It is never changed.
        example: One input tensor, a tuple of positional inputs, or a mapping of keyword inputs.
            The first axis of the first tensor is the batch; a batch of 1 is repeated. Not needed
            for a program, which carries its own.
        kwargs: Keyword inputs beside positional ones.

    Returns:
        The network in inference mode, for any batch size.

    Raises:
        InvalidModelError: NaN, infinite or half-precision weights, or a quantized model.
        InvalidInputError: The example does not run through the model.
        CaptureError: The model cannot be captured; the message names the line and what to try.
    """
    if isinstance(model, ExportedProgram):
        return _from_program(model)
    args, kwargs = _split_example(example, kwargs)
    check_weights(model)
    args, kwargs = _at_least_two(args, kwargs)
    model = copy.deepcopy(model).eval()
    expected = _run(model, args, kwargs)
    program = _export(model, args, kwargs)
    network = Network(functionalize(program), args, kwargs)
    network.finish()
    _check_same(network, expected)
    return network


def _from_program(program: ExportedProgram) -> Network:
    args, kwargs = program.example_inputs or ((), {})
    network = Network(functionalize(program), tuple(args), dict(kwargs))
    check_weights(network.module)
    network.finish()
    return network


def check_weights(model: nn.Module) -> None:
    """Refuse weights that no algorithm could work with.

    Raises:
        InvalidModelError: Names the tensor, what is wrong with it, and what to do.
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_quantized:
            raise InvalidModelError(
                f"{name!r} is already quantized ({tensor.dtype}); pass the float model instead"
            )
        if tensor.dtype in (torch.float16, torch.bfloat16):
            raise InvalidModelError(
                f"{name!r} is in half precision ({tensor.dtype}); pass model.float() instead"
            )
        if tensor.is_complex():
            raise InvalidModelError(f"{name!r} is complex ({tensor.dtype}), which is not supported")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise InvalidModelError(
                f"{name!r} has {bad} NaN or infinite values of {tensor.numel()}; "
                "check the checkpoint that was loaded"
            )


def _split_example(
    example: Example, kwargs: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example, Mapping):
        return (), {**example, **(kwargs or {})}
    if example is None:
        args: tuple[Any, ...] = ()
    elif isinstance(example, tuple | list):
        args = tuple(example)
    else:
        args = (example,)
    return args, dict(kwargs or {})


def _batch_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    if not tensors:
        raise InvalidInputError(
            "the example holds no tensor; pass an input as the model takes it, for instance "
            "torch.randn(1, 3, 224, 224)"
        )
    if tensors[0].ndim == 0 or 0 in tensors[0].shape:
        raise InvalidInputError(
            f"the first example input has shape {tuple(tensors[0].shape)}; "
            "its first axis must be a batch of at least 1, and no axis may be empty"
        )
    return tensors[0].shape[0]


def _at_least_two(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Repeat an example of batch 1: `torch.export` would fix the batch size to 1 otherwise."""
    if _batch_of(args, kwargs) > 1:
        return args, kwargs

    def repeat(x: Any) -> Any:
        one = isinstance(x, Tensor) and x.ndim > 0 and x.shape[0] == 1
        return torch.cat([x, x]) if one else x

    return pytree.tree_map(repeat, (args, kwargs))


def _run(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        with torch.no_grad():
            return model(*args, **kwargs)
    except Exception as error:
        shapes = [
            tuple(x.shape) for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)
        ]
        raise InvalidInputError(
            f"the model does not run on the example (shapes {shapes}){_line(error)}: "
            f"{_first_line(error)}"
        ) from error


def _export(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedProgram:
    batch = _batch_of(args, kwargs)

    def spec(x: Any) -> Any:
        has_batch = isinstance(x, Tensor) and x.ndim > 0 and x.shape[0] == batch
        return {0: Dim.DYNAMIC} if has_batch else None

    try:
        # As tuple and dict: torch.export matches positional specs by position, others by name.
        shapes = pytree.tree_map(spec, (args, kwargs))
        names = _argument_names(model, args)
        return torch.export.export(
            model, args, kwargs, dynamic_shapes={**dict(zip(names, shapes[0], strict=True)), **shapes[1]}
        )
    except Exception as error:
        raise CaptureError(_explain(error)) from error


def _argument_names(model: nn.Module, args: tuple[Any, ...]) -> list[str]:
    parameters = list(inspect.signature(model.forward).parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise CaptureError("the model's forward takes *args; give it named arguments")
    return [p.name for p in parameters[: len(args)]]


def _explain(error: Exception) -> str:
    """One clear message: where in the user's code, what happened, what to try."""
    text = str(error)
    if "data-dependent" in text:
        advice = (
            "the path through the model depends on the values of a tensor. Replace the `if` by "
            "torch.where, or quantize the part of the model before this line and call the rest "
            "yourself"
        )
    elif "specialized it to be a constant" in text:
        advice = (
            "the model fixes its batch size. Use x.shape[0] instead of a number, for instance "
            "x.view(x.shape[0], -1)"
        )
    else:
        advice = f"torch.export said: {_first_line(error)}"
    return f"the model cannot be captured{_line(error)}: {advice}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _line(error: Exception) -> str:
    """Where in the user's code the error arose, as ` at file:line (code)`."""
    inside = (torch.__path__[0], __file__, "<")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(inside)
    ]
    if not frames:
        return ""
    return f" at {frames[-1].filename}:{frames[-1].lineno} ({frames[-1].line})"


def _check_same(network: Network, expected: Any) -> None:
    """The captured graph must compute what the model computes."""
    with torch.no_grad():
        actual = network(*network.args, **network.kwargs)
    pairs = zip(pytree.tree_leaves(expected), pytree.tree_leaves(actual), strict=True)
    for want, got in pairs:
        if isinstance(want, Tensor) and want.is_floating_point():
            error = float((want - got).abs().max()) if want.numel() else 0.0
            scale = float(want.abs().max()) if want.numel() else 0.0
            if not error <= 1e-3 * scale + 1e-6:
                raise CaptureError(
                    f"the captured graph differs from the model by {error:.3g} (outputs up to "
                    f"{scale:.3g}); the model may be random or keep state between calls"
                )
