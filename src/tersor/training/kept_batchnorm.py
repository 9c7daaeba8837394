"""Keeps BatchNorm while weights are trained: puts it back after the layers it was folded into.

    y = γ · (W x − μ_B) / √(σ²_B + ε) + β,  γ, β: what the output had in the float network

If it is statically folded, a BatchNorm is gone, and nothing restores the scale that few bits
distort. If it is kept, it normalizes by the statistics of each batch, and networks of 2 and 3 bits
learn many times faster. At the end the statistics are estimated again with the final weights (arXiv
2203.11086, §4.3), and the BatchNorm is folded into the step of each weight channel, so that no
integer changes:

    s′ = s · γ / √(σ² + ε)

BatchNorm compensates the size of each channel, so all channels are trained at one size, and no
learning rate is too high for small channels and too low for the others.
"""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.data.walk.observe import Batch
from tersor.graph.batchnorm import BatchNorm, batch_norms
from tersor.graph.layers import Layer, layers, per_output
from tersor.graph.network import Network, set_tensor
from tersor.graph.nodes import argument
from tersor.graph.simplify import fold
from tersor.quant.lsq import LearnedQuantize, settle
from tersor.quant.placement.place import weight_quantizer
from tersor.quant.placement.quantizer import module_at

aten = torch.ops.aten
_EPSILON = 1e-5
_MOMENTUM = 0.1
_SMALLEST = 1e-4  # size of a channel, relative to the others; smaller ones stay
_NORM = "_kept_batchnorm"  # suffix of their tensors' names after the layer's name


def keep_batchnorm(network: Network) -> None:
    """Insert a BatchNorm after every layer that one was folded into.

    Args:
        network: Edited in place; its function is unchanged. Layers whose weight has one step for
            all channels cannot take a BatchNorm back and get none.
    """
    found = [layer for layer in layers(network) if _can_have(layer)]
    for layer in found:
        _put_behind(layer)
    network.finish()


def normalize_by_batch(network: Network, by_batch: bool) -> None:
    """Choose between the statistics of each batch and the running ones.

    Args:
        network: A network with BatchNorms.
        by_batch: Whether the statistics are those of the batch.
    """
    for norm in _kept(network):
        norm.node.update_arg(5, by_batch)
    network.module.recompile()


@torch.no_grad()
def reestimate(network: Network, batches: Iterable[Batch]) -> None:
    """Estimate the running statistics again, as means over batches.

    Args:
        network: Edited in place.
        batches: The inputs.
    """
    norms = list(_kept(network))
    if not norms:
        return
    normalize_by_batch(network, True)
    for norm in norms:
        norm.node.update_arg(6, 1.0)  # the statistics of the last batch are kept
    network.module.recompile()
    running = [node for norm in norms for node in _running(norm)]
    sums, count = [torch.zeros_like(network.tensor(node)) for node in running], 0
    for args, kwargs in batches:
        network(*args, **kwargs)
        sums = [total + network.tensor(node) for total, node in zip(sums, running, strict=True)]
        count += 1
    for node, total in zip(running, sums, strict=True):
        network.tensor(node).copy_(total / max(count, 1))
    for norm in norms:
        norm.node.update_arg(6, _MOMENTUM)
    network.module.recompile()


def settle_batchnorm(network: Network) -> None:
    """End training: call `tersor.quant.lsq.settle` and fold the BatchNorms, integers unchanged.

    Args:
        network: Edited in place.
    """
    settle(network)
    norms = list(_kept(network))
    if not norms:
        return
    normalize_by_batch(network, False)
    for norm in norms:
        quantizer = weight_quantizer(Layer(norm.input, network))
        if quantizer is not None:
            factor, _ = norm.scale_and_shift
            quantizer.set_scale(quantizer.scale * factor.abs(), quantizer.zero_point)
    fold(network)


def _kept(network: Network) -> Iterator[BatchNorm]:
    for norm in batch_norms(network):
        if norm.name.endswith(_NORM):
            yield norm


def _running(norm: BatchNorm) -> tuple[fx.Node, fx.Node]:
    mean, var = norm.parameters[2:4]
    assert isinstance(mean, fx.Node)
    assert isinstance(var, fx.Node)
    return mean, var


def _can_have(layer: Layer) -> bool:
    """Whether a BatchNorm was folded into the layer, and its weight can take one back."""
    edge = argument(layer.node, "weight")
    if isinstance(edge, fx.Node) and edge.op == "call_module":
        quantizer = _learned(layer)
        if quantizer is None or quantizer.axis is None:
            return False
    known = layer.network.statistics.get(layer.node.name)
    if known is None:
        return False
    is_whole = layer.has_own_weight and not layer.is_transposed and bool((known.std > 0).all())
    channels_second = not layer.is_linear or layer.node.meta["val"].ndim == 2
    return is_whole and channels_second and layer.bias is not None


def _learned(layer: Layer) -> LearnedQuantize | None:
    """The trainable quantizer of the weight."""
    return module_at(layer.network, argument(layer.node, "weight"), LearnedQuantize)


def _put_behind(layer: Layer) -> None:
    """Insert a BatchNorm with γ and β from the output statistics; the layer's bias becomes 0."""
    network, node, bias = layer.network, layer.node, layer.bias
    assert bias is not None
    known, size = network.statistics[node.name], _level(layer)
    values = {
        "weight": torch.nn.Parameter(known.std.clone()),
        "bias": torch.nn.Parameter(known.mean.clone()),
        "running_mean": (known.mean - bias.detach()) / size,
        "running_var": ((known.std / size).square() - _EPSILON).clamp(min=0),
    }
    stored = []
    for name, value in values.items():
        path = f"{layer.name}{_NORM}.{name}"
        set_tensor(network.module, path, value)
        with network.graph.inserting_after(node):
            stored.append(network.graph.get_attr(path))
        stored[-1].meta["val"] = value.detach()
    layer.set_bias(torch.zeros_like(bias))
    layer.bias.requires_grad_(False)  # type: ignore[union-attr]
    with network.graph.inserting_after(stored[0]):
        norm = network.graph.call_function(
            aten.batch_norm.default, (node, *stored, True, _MOMENTUM, _EPSILON, False)
        )
    norm.meta = dict(node.meta)
    node.replace_all_uses_with(norm, delete_user_cb=lambda user: user is not norm)


@torch.no_grad()
def _level(layer: Layer) -> Float[Tensor, " channels"]:
    """Divide the channels of a weight by their size, which the BatchNorm compensates."""
    weight = layer.grouped_weight()
    squares = weight.square().flatten(2).mean(2).flatten()
    size = (squares / squares.mean()).sqrt()
    size = torch.where(size > _SMALLEST, size, 1.0)
    layer.set_grouped_weight(weight / per_output(size, weight))
    quantizer = _learned(layer)
    if quantizer is not None:
        quantizer.unit = quantizer.unit / size
    return size
