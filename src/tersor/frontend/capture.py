"""Capture: a PyTorch module becomes a `Network`, through `torch.export` with a dynamic batch."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection
from torch.fx import traceback
from torch.utils import _pytree as pytree

from tersor.errors import CaptureError, InvalidInputError, TersorError, UnsupportedError
from tersor.frontend.explain import explain, first_line, line, quiet
from tersor.frontend.functional import functionalize
from tersor.frontend.onnx.batch import free_batch
from tersor.frontend.onnx.model import OnnxModel
from tersor.frontend.onnx.naming import name_like_file
from tersor.frontend.onnx.settle import settle_branches
from tersor.frontend.validate import check_example, check_graph, check_model, check_names
from tersor.graph.mode import set_training
from tersor.graph.network import Applied, Network, Record
from tersor.graph.shapes import is_free

Model = nn.Module | ExportedProgram | Network
Example = Any  # a tensor, a tuple of positional inputs, or a mapping of keyword inputs
Keywords = Mapping[str, Example]
Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def capture(
    model: nn.Module | ExportedProgram,
    example: Example = None,
    kwargs: Keywords | None = None,
) -> Network:
    """Capture a model as a graph of ATen calls with the weights under the user's own names.

    Args:
        model: The model, or a program that `torch.export.load` returned. It is never changed.
        example: One input tensor, a tuple of positional inputs, or a mapping of keyword inputs.
            The first axis of the first tensor is the batch; a batch of 1 is repeated. Not needed
            for a program that carries its own.
        kwargs: Keyword inputs, in addition to positional ones.

    Returns:
        The network in inference mode, for any batch size.

    Raises:
        InvalidModelError: NaN, infinite or half-precision weights, or a quantized model.
        InvalidInputError: The example does not run through the model.
        CaptureError: The model cannot be captured; the message names the line and what to try.
    """
    inputs = _split_example(example, kwargs)
    if isinstance(model, ExportedProgram):
        return _from_program(model, inputs)
    original: nn.Module = getattr(model, "_orig_mod", model)  # what torch.compile wrapped
    check_model(original)
    if isinstance(original, OnnxModel):
        inputs = original.arrange(*inputs), {}
    check_example(*inputs)
    model = _copy(original).eval()
    if isinstance(model, OnnxModel):
        return _from_file(model, inputs)
    return _from_module(model, *_run_at_two(model, inputs))


def captured(model: Model, example: Example = None, kwargs: Keywords | None = None) -> Network:
    """A network to edit: what `capture` makes of a model, or a copy of what it made already.

    Args:
        model: As for `capture`, or a network.
        example: As for `capture`.
        kwargs: As for `capture`.

    Raises:
        TersorError: As `capture`; or a network is given an example, which it has.
    """
    if not isinstance(model, Network):
        return capture(model, example, kwargs)
    if example is not None or kwargs is not None:
        raise InvalidInputError(
            "the model is a captured network, which keeps the example it was captured with; leave "
            "out example= and kwargs="
        )
    return model.copy()


def _from_module(
    model: nn.Module, expected: Any, inputs: Inputs, has_free_batch: bool = True
) -> Network:
    network = Network(functionalize(_export(model, inputs, has_free_batch)), *inputs)
    check_graph(network.graph)
    _check_same(network, expected)
    return network


def _from_file(model: OnnxModel, inputs: Inputs) -> Network:
    """Capture an ONNX file. Its batch stays fixed if the file fixes it and depends on it."""
    args, batch = inputs[0], model.fixed_batch
    model = _settled(model, inputs if batch else _at_two(inputs))
    is_free = batch is None or (_batch_size(inputs) == batch and free_batch(model, args))
    expected, inputs = _run_at_two(model, inputs) if is_free else (_run(model, inputs), inputs)
    with torch.no_grad(), traceback.preserve_node_meta():  # each call carries its node's name
        network = _from_module(model, expected, inputs, is_free)
    name_like_file(network, model)
    network.records += _told(model)
    return network


def _settled(model: OnnxModel, inputs: Inputs) -> OnnxModel:
    """Fold the branches that depend on sizes; what does not run is explained later."""
    try:
        return settle_branches(model, inputs[0])
    except Exception:  # noqa: BLE001
        return model


def _told(model: OnnxModel) -> list[Record]:
    """Records of what was fixed in a file."""
    fixed = [
        Applied(name, "fix", f"it has the value {value} and is no input of the new file")
        for name, value in model.fixed.items()
    ]
    branches = [
        Applied(name, "fix", "If: its branch is the one for sizes as in the example")
        for name in model.assumed
    ]
    return [*fixed, *branches]


def _from_program(program: ExportedProgram, inputs: Inputs) -> Network:
    if not any(inputs) and program.example_inputs is not None:
        args, kwargs = program.example_inputs
        inputs = tuple(args), dict(kwargs)
    check_example(*inputs)
    check_names(program.state_dict)
    inputs = _with_batch(inputs, max(2, _batch_size(inputs)))
    try:
        network = Network(functionalize(program), *inputs).copy()  # torch.export shares the tensors
    except Exception as error:
        raise CaptureError(
            f"the program is inconsistent: {first_line(error)}; export it again"
        ) from error
    check_model(network.module)
    check_graph(network.graph)
    _check_free_batch(network)
    set_training(network, False)  # before it runs: training changes BatchNorm statistics
    if error := _failure(network.module, inputs):
        raise InvalidInputError(
            f"the program does not run on the example: {first_line(error)}; give what it takes"
        ) from error
    return network


def _check_free_batch(network: Network) -> None:
    values = [node.meta.get("val") for node in network.graph.find_nodes(op="placeholder")]
    tensors = [value for value in values if isinstance(value, Tensor) and value.ndim > 0]
    if not any(is_free(value.shape[0]) for value in tensors):
        raise CaptureError(
            f"the program was exported for a fixed batch of {tensors[0].shape[0]}; export it "
            "again with an example batch of at least 2 and "
            "dynamic_shapes={<input>: {0: torch.export.Dim.DYNAMIC}}"
        )


def _split_example(example: Example, kwargs: Keywords | None) -> Inputs:
    if isinstance(example, Mapping):
        args, kwargs = (), {**example, **(kwargs or {})}
    elif example is None:
        args: tuple[Any, ...] = ()
    elif isinstance(example, tuple | list):
        args = tuple(example)
    else:
        args = (example,)
    return pytree.tree_map_only(np.ndarray, torch.from_numpy, (args, dict(kwargs or {})))


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise CaptureError(
            f"the model cannot be copied, and the original must not change: {first_line(error)}. "
            "Weights computed by torch.nn.utils.weight_norm are one cause; call "
            "torch.nn.utils.remove_weight_norm first"
        ) from error


def _batch_size(inputs: Inputs) -> int:
    return next(x.shape[0] for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor))


def _with_batch(inputs: Inputs, size: int) -> Inputs:
    """Copy the inputs with another batch size: the first samples, repeated as needed."""
    batch = _batch_size(inputs)

    def resize(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if x.ndim == 0 or x.shape[0] != batch:
            return x.detach().clone()
        return x.detach()[torch.arange(size, device=x.device) % batch]

    return pytree.tree_map(resize, inputs)


def _at_two(inputs: Inputs) -> Inputs:
    return _with_batch(inputs, max(2, _batch_size(inputs)))


def _run_at_two(model: nn.Module, inputs: Inputs) -> tuple[Any, Inputs]:
    """Run the model on the example with a batch of at least 2; return the output and that example.

    `torch.export` would treat a batch of 1 as fixed.
    """
    repeated = _at_two(inputs)
    try:
        return _run(model, repeated), repeated
    except Exception as error:
        if isinstance(error, UnsupportedError):
            raise
        if _failure(model, inputs) is None:
            raise CaptureError(explain(error, other_batch=error)) from error
        if isinstance(error, TersorError):
            raise
        shapes = [tuple(x.shape) for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor)]
        raise InvalidInputError(
            f"the model does not run on the example (shapes {shapes}){line(error)}: "
            f"{first_line(error)}; give what the model takes, the batch first"
        ) from error


def _run(model: nn.Module, inputs: Inputs) -> Any:
    args, kwargs = _with_batch(inputs, _batch_size(inputs))  # the model may write to its inputs
    with torch.no_grad():
        return model(*args, **kwargs)


def _failure(model: nn.Module, inputs: Inputs) -> Exception | None:
    try:
        _run(model, inputs)
    except Exception as error:  # noqa: BLE001
        return error
    return None


def _export(model: nn.Module, inputs: Inputs, has_free_batch: bool = True) -> ExportedProgram:
    batch = _batch_size(inputs)
    args, kwargs = _with_batch(inputs, batch)
    shapes: Any = ShapesCollection()
    for x in pytree.tree_leaves((args, kwargs)):
        if has_free_batch and isinstance(x, Tensor) and x.ndim > 0 and x.shape[0] == batch:
            shapes[x] = _free_axes(x)
    try:
        with quiet():
            return torch.export.export(model, args, kwargs, dynamic_shapes=shapes)
    except TersorError:
        raise
    except Exception as error:
        other_batch = _failure(model, _with_batch(inputs, batch + 1))
        raise CaptureError(explain(error, other_batch)) from error


def _free_axes(x: Tensor) -> dict[int, Any]:
    """The batch; in text inputs, which are integers, also lengths that the model leaves free."""
    is_text = not (x.is_floating_point() or x.is_complex())
    lengths = range(1, x.ndim) if is_text else ()
    return {0: Dim.DYNAMIC, **dict.fromkeys(lengths, Dim.AUTO)}


def _check_same(network: Network, expected: Any) -> None:
    """Check that the captured graph computes what the model computes."""
    actual = _run(network.module, (network.args, network.kwargs))
    pairs = zip(pytree.tree_leaves(expected), pytree.tree_leaves(actual), strict=True)
    for want, got in pairs:
        if not isinstance(want, Tensor) or not want.is_floating_point() or not want.numel():
            continue
        if bool(want.isnan().any()):
            raise InvalidInputError(
                "the model's output on the example holds NaN; pass a real input"
            )
        error = torch.where(want == got, 0, want - got).abs().max()
        scale = want.where(want.isfinite(), 0).abs().max()
        if not error <= 1e-3 * scale + 1e-6:
            raise CaptureError(
                f"the captured graph differs from the model by {error:.3g} (outputs up to "
                f"{scale:.3g}); the model may be random or keep state between calls"
            )
