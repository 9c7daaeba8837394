"""Captured test networks, each captured once per session."""

from functools import cache

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.frontend.capture import capture
from tersor.graph.network import Network
from tests.zoo import ZOO


@cache
def _captured(name: str) -> Network:
    case = ZOO[name]
    args, kwargs = case.args(torch.float64, batch=1), case.kwargs(torch.float64, batch=1)
    return capture(case.make().double(), args, kwargs)


def captured(name: str) -> Network:
    """A network of the zoo in float64, captured from an example of batch 1, free to be edited."""
    return _captured(name).copy()


def outputs(model, *args, **kwargs) -> list[Tensor]:
    """The tensors among a model's outputs."""
    with torch.no_grad():
        leaves = pytree.tree_leaves(model(*args, **kwargs))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def assert_same_function(network, model, inputs, tolerance: float) -> None:
    """Equal outputs for each `(args, kwargs)`, relative to the largest output of the model."""
    for args, kwargs in inputs:
        pairs = zip(outputs(model, *args, **kwargs), outputs(network, *args, **kwargs), strict=True)
        for want, got in pairs:
            assert got.dtype == want.dtype
            assert got.shape == want.shape
            assert (got - want).abs().max() <= tolerance * want.abs().max()
