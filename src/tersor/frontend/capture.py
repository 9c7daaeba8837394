"""Capture: a PyTorch module becomes a `Network`, through `torch.export` with open axes."""

from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy

from tersor.errors import CaptureError, InvalidInputError, TersorError
from tersor.frontend.capture_module import at_least_two, capture_module
from tersor.frontend.dynamic import Dynamic, check_takes_axes
from tersor.frontend.explain import first_line
from tersor.frontend.functional import functionalize
from tersor.frontend.given import Example, Inputs, Keywords, failure, split_example, tensors
from tersor.frontend.model_copy import copied
from tersor.frontend.network_module import NetworkModule
from tersor.frontend.onnx.capture_file import capture_file
from tersor.frontend.onnx.model import OnnxModel
from tersor.frontend.program_batch import with_open_batch
from tersor.frontend.run_budget import RunBudget, bounded
from tersor.frontend.validate import check_example, check_graph, check_model, check_names
from tersor.graph.mode import set_training
from tersor.graph.network import Network
from tersor.graph.shapes import is_free

Model = nn.Module | ExportedProgram | Network
_EXPORTED = (
    "a program keeps those that it was exported with",
    ", or export it again with other dynamic_shapes",
)
_CAPTURED = (
    "a captured network keeps those that it was captured with",
    ", or give it to tersor.frontend.capture.capture",
)


def capture(
    model: nn.Module | ExportedProgram,
    example: Example = None,
    kwargs: Keywords | None = None,
    dynamic: Dynamic | None = None,
) -> Network:
    """Capture a model as a graph of ATen calls with the weights under the user's own names.

    Args:
        model: The model, or a program that `torch.export.load` returned. It is never changed.
        example: One input tensor, a tuple of positional inputs, or a mapping of keyword inputs.
            The first axis of the first tensor is the batch; a batch of 1 is repeated. Not needed
            for a program that carries its own.
        kwargs: Keyword inputs, in addition to positional ones.
        dynamic: The axes of a module's inputs that stay open besides the batch, with their names:
            name of an input → axis → name, as in `{"x": {0: "batch", 2: "height", 3: "width"}}`.
            Default: heights and widths of pictures where the outputs grow with them.

    Returns:
        The network in inference mode. It takes any batch size, unless a record of the step
        `"capture"` says why its batch is fixed.

    Raises:
        InvalidModelError: NaN, infinite or half-precision weights, or a quantized model.
        InvalidInputError: The example does not run through the model.
        CaptureError: The model cannot be captured, or not with these axes open; the message names
            the line or the axis, and what to try.
    """
    inputs = split_example(example, kwargs)
    if isinstance(model, ExportedProgram):
        check_takes_axes(dynamic, *_EXPORTED)
        return _from_program(model, inputs)
    original: nn.Module = getattr(model, "_orig_mod", model)  # what torch.compile wrapped
    original = _ordinary(original)
    check_model(original)
    if isinstance(original, OnnxModel):
        check_takes_axes(dynamic, "an ONNX file says itself which axes are open", "")
        inputs = original.arrange(*inputs), {}
    check_example(*inputs)
    model = copied(original).eval()
    if isinstance(model, OnnxModel):
        return capture_file(model, inputs)
    return capture_module(model, inputs, dynamic)


def captured(
    model: Model,
    example: Example = None,
    kwargs: Keywords | None = None,
    dynamic: Dynamic | None = None,
) -> Network:
    """A network to edit: what `capture` makes of a model, or a copy of what it made already.

    Args:
        model: As for `capture`; or a network, or what `quantize` or `compress` made.
        example: As for `capture`.
        kwargs: As for `capture`.
        dynamic: As for `capture`.

    Raises:
        TersorError: As `capture`; or a network is given an example or open axes, which it has.
    """
    if isinstance(model, NetworkModule):
        model = model.network
    if not isinstance(model, Network):
        return capture(model, example, kwargs, dynamic)
    check_takes_axes(dynamic, *_CAPTURED)
    if example is not None or kwargs is not None:
        raise InvalidInputError(
            "the model is a captured network, which keeps the example it was captured with; leave "
            "out example= and kwargs=, and give the float model if it was quantized"
        )
    return model.copy()


def _from_program(program: ExportedProgram, inputs: Inputs) -> Network:
    if not any(inputs) and program.example_inputs is not None:
        args, kwargs = program.example_inputs
        inputs = tuple(args), dict(kwargs)
    check_example(*inputs)
    check_names(program.state_dict)
    try:
        network = Network(functionalize(program), *inputs).copy()  # torch.export shares the tensors
    except Exception as error:
        raise CaptureError(
            f"the program is inconsistent: {first_line(error)}; export it again"
        ) from error
    check_model(network.module)
    check_graph(network.graph)
    set_training(network, False)  # before it runs: training changes BatchNorm statistics
    is_open = _has_free_batch(network)
    if is_open:
        network.args, network.kwargs = at_least_two(inputs)
    given, stored = tensors((network.args, network.kwargs)), network.module.state_dict().values()
    with bounded(RunBudget(sum(x.nbytes for x in given), sum(x.nbytes for x in stored))):
        if error := failure(network.module, (network.args, network.kwargs)):
            if isinstance(error, TersorError):  # which says itself what to do
                raise error
            raise InvalidInputError(
                f"the program does not run on the example: {first_line(error)}; give what it takes"
            ) from error
        return network if is_open else with_open_batch(network)


def _has_free_batch(network: Network) -> bool:
    values = [node.meta.get("val") for node in network.graph.find_nodes(op="placeholder")]
    tensors = [value for value in values if isinstance(value, Tensor) and value.ndim > 0]
    return any(is_free(value.shape[0]) for value in tensors)


def _ordinary(model: nn.Module) -> nn.Module:
    """The model, or a copy of one made in `torch.inference_mode`, whose tensors cannot be used."""
    if not isinstance(model, nn.Module):
        return model
    tensors = [*model.parameters(), *model.buffers()]
    if not any(x.is_inference() for x in tensors if not is_lazy(x)):
        return model
    model = copied(model)
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None and value.is_inference():
                new = value.detach().clone()
                module._parameters[name] = nn.Parameter(new, value.requires_grad)
        for name, value in module._buffers.items():
            if value is not None and value.is_inference():
                module._buffers[name] = value.clone()
    return model
