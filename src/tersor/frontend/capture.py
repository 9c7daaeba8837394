"""Capture: a PyTorch module becomes a `Network`, through `torch.export` with a dynamic batch."""

import copy
from typing import Any

from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from tersor.errors import CaptureError, InvalidInputError, TersorError, UnsupportedError
from tersor.frontend.axes import BATCH, Axes, with_batch
from tersor.frontend.explain import explain, first_line, line
from tersor.frontend.exporting import make_network
from tersor.frontend.functional import functionalize
from tersor.frontend.given import (
    Example,
    Inputs,
    Keywords,
    batch_size,
    failure,
    resized,
    run,
    split_example,
    tensors,
)
from tersor.frontend.onnx.capture_file import capture_file
from tersor.frontend.onnx.model import OnnxModel
from tersor.frontend.validate import check_example, check_graph, check_model, check_names
from tersor.graph.mode import set_training
from tersor.graph.network import Network
from tersor.graph.shapes import is_free

Model = nn.Module | ExportedProgram | Network


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
    inputs = split_example(example, kwargs)
    if isinstance(model, ExportedProgram):
        return _from_program(model, inputs)
    original: nn.Module = getattr(model, "_orig_mod", model)  # what torch.compile wrapped
    check_model(original)
    if isinstance(original, OnnxModel):
        inputs = original.arrange(*inputs), {}
    check_example(*inputs)
    model = _copy(original).eval()
    return (
        capture_file(model, inputs) if isinstance(model, OnnxModel) else _from_module(model, inputs)
    )


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


def _from_module(model: nn.Module, inputs: Inputs) -> Network:
    expected, inputs = _run_at_two(model, inputs)
    axes = _module_axes(inputs)
    network = make_network(model, expected, inputs, axes, needed=(BATCH,))
    network.axes = tuple({k: "batch" for k, name in x.items() if name == BATCH} for x in axes)
    return network


def _from_program(program: ExportedProgram, inputs: Inputs) -> Network:
    if not any(inputs) and program.example_inputs is not None:
        args, kwargs = program.example_inputs
        inputs = tuple(args), dict(kwargs)
    check_example(*inputs)
    check_names(program.state_dict)
    inputs = _at_least_two(inputs)
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
    if error := failure(network.module, inputs):
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


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise CaptureError(
            f"the model cannot be copied, and the original must not change: {first_line(error)}. "
            "Weights computed by torch.nn.utils.weight_norm are one cause; call "
            "torch.nn.utils.remove_weight_norm first"
        ) from error


def _module_axes(inputs: Inputs) -> Axes:
    """The batch; in text inputs, which are integers, also lengths that the model leaves free."""
    found = tensors(inputs)
    lengths = [() if x.is_floating_point() or x.is_complex() else range(1, x.ndim) for x in found]
    more = [{axis: f"?{i}.{axis}" for axis in axes} for i, axes in enumerate(lengths)]
    batch = with_batch(tuple({} for _ in found), found)
    return tuple({**x, **y} if x else x for x, y in zip(batch, more, strict=True))


def _at_least_two(inputs: Inputs) -> Inputs:
    """Repeat the samples of a batch of 1."""
    found = tensors(inputs)
    axes = with_batch(tuple({} for _ in found), found)
    return resized(inputs, axes, {BATCH: max(2, batch_size(inputs))})


def _run_at_two(model: nn.Module, inputs: Inputs) -> tuple[Any, Inputs]:
    """Run the model on the example with a batch of at least 2; return the output and that example.

    `torch.export` would treat a batch of 1 as fixed.
    """
    repeated = _at_least_two(inputs)
    try:
        return run(model, repeated), repeated
    except Exception as error:
        if isinstance(error, UnsupportedError):
            raise
        if failure(model, inputs) is None:
            raise CaptureError(explain(error, other_batch=error)) from error
        if isinstance(error, TersorError):
            raise
        shapes = [tuple(x.shape) for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor)]
        raise InvalidInputError(
            f"the model does not run on the example (shapes {shapes}){line(error)}: "
            f"{first_line(error)}; give what the model takes, the batch first"
        ) from error
