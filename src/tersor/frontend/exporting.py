"""Runs `torch.export` with open axes, and checks that the graph computes what the model does."""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection
from torch.fx import config as settings
from torch.utils import _pytree as pytree

from tersor.errors import CaptureError, InvalidInputError, TersorError
from tersor.frontend.axes import BATCH, Axes
from tersor.frontend.explain import explain, quiet
from tersor.frontend.functional import functionalize
from tersor.frontend.given import Inputs, batch_size, failure, resized, run, tensors
from tersor.frontend.validate import check_graph
from tersor.graph.network import Network


def make_network(
    model: nn.Module, expected: Any, inputs: Inputs, axes: Axes, needed: Collection[str] = ()
) -> Network:
    """Capture a model with open axes.

    Args:
        model: The model, in inference mode.
        expected: What it returns for the inputs.
        inputs: The inputs, where each open axis has a size of at least 2.
        axes: Their open axes. `torch.export` fixes those whose size the model depends on.
        needed: Names of the axes that must stay open.

    Raises:
        CaptureError: The model cannot be captured like that.
    """
    network = Network(functionalize(export(model, inputs, axes, needed)), *inputs)
    check_graph(network.graph)
    check_same(network, expected)
    return network


def export(
    model: nn.Module, inputs: Inputs, axes: Axes, needed: Collection[str]
) -> ExportedProgram:
    """Run `torch.export`; see `make_network`."""
    args, kwargs = resized(inputs, axes, {})
    shapes: Any = ShapesCollection()
    for x, open_axes in zip(tensors((args, kwargs)), axes, strict=True):
        if open_axes:
            shapes[x] = {
                axis: Dim.DYNAMIC if name in needed else Dim.AUTO
                for axis, name in open_axes.items()
            }
    try:
        with quiet(), _computed_anew(), _without_traces():
            return torch.export.export(model, args, kwargs, dynamic_shapes=shapes)
    except TersorError:
        raise
    except Exception as error:
        more = {BATCH: batch_size(inputs) + 1}
        raise CaptureError(explain(error, failure(model, resized(inputs, axes, more)))) from error


def _computed_anew() -> AbstractContextManager[None]:
    """Switch off the cache of shapes: of open axes, it takes longer to look one up."""
    import torch._dynamo.config as dynamo  # what a torch without it does not need either

    return dynamo.patch(fake_tensor_cache_enabled=False)


@contextmanager
def _without_traces() -> Iterator[None]:
    """Note no stack with each call, which takes a tenth of the time, and which nothing reads."""
    name = "do_not_emit_stack_traces"  # has no effect in a torch that does not know it
    before = getattr(settings, name, False)
    setattr(settings, name, True)
    try:
        yield
    finally:
        setattr(settings, name, before)


def check_same(network: Network, expected: Any, inputs: Inputs | None = None) -> None:
    """Check that a captured graph computes what the model computes.

    Args:
        network: The network.
        expected: What the model returns.
        inputs: The inputs; default: those that the network was captured with.

    Raises:
        InvalidInputError: The model returns NaN.
        CaptureError: The outputs differ.
    """
    actual = run(network.module, inputs or (network.args, network.kwargs))
    pairs = zip(pytree.tree_leaves(expected), pytree.tree_leaves(actual), strict=True)
    for want, got in pairs:
        if not isinstance(want, Tensor) or not want.is_floating_point() or not want.numel():
            continue
        if bool(want.isnan().any()):
            raise InvalidInputError(
                "the model's output on the example holds NaN; pass a real input"
            )
        if want.shape != got.shape:
            raise CaptureError(
                f"the captured graph returns shape {tuple(got.shape)}, the model "
                f"{tuple(want.shape)}; an axis of the example may be as long as another one by "
                "chance, so try an example of other sizes"
            )
        error = torch.where(want == got, 0, want - got).abs().max()
        scale = want.where(want.isfinite(), 0).abs().max()
        if not error <= 1e-3 * scale + 1e-6:
            raise CaptureError(
                f"the captured graph differs from the model by {error:.3g} (outputs up to "
                f"{scale:.3g}); the model may be random or keep state between calls"
            )
