"""W ≈ K_n ∘ … ∘ K_1: a linear layer or convolution becomes two to four smaller ones.

The decompositions are those of arXiv 1912.09802, §3.1 (weight SVD, spatial SVD, CP, Tucker-2 and
tensor-train), and CP with whole kernels. The equations are in `tersor.core.decompose`, those with
data in `tersor.core.refit`. For layers without kernel axes, which are linear layers and 1×1
convolutions, every method is the SVD.

Differs from the paper in: if a decomposition has several ranks, they are chosen for the least loss
at a given cost (`tersor.core.ranks`). With data, all factors of any decomposition and the bias are
fitted.
"""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from tersor.compression.chain import LayerSizes, replace_by_chain
from tersor.compression.chain_fit import Refit, Samples, fit_chain
from tersor.core.ranks import (
    Ranks,
    aligned,
    attainable,
    best_ranks,
    full_ranks,
    shapes_of,
)
from tersor.data.walk.gram import Moments
from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer
from tersor.graph.network import Applied, Record, Skipped
from tersor.graph.nodes import argument
from tersor.names import METHODS, Method

STEP = "factorize"


@dataclass(frozen=True)
class Factorization:
    """The factorization to apply to a layer.

    Attributes:
        method: `"svd"`, `"spatial"`, `"cp"`, `"depthwise"`, `"tucker"` or `"tensor_train"`.
        ranks: Numbers of channels between the factors, such as `rank_for` returns.
    """

    method: Method
    ranks: Ranks


def refusal(layer: Layer) -> str | None:
    """The reason why a layer cannot be factorized, or None if it can.

    Args:
        layer: The layer.
    """
    if layer.is_transposed:
        return "it is a transposed convolution"
    if layer.groups > 1:
        return f"it is {'depthwise' if layer.is_depthwise else 'grouped'}, so it is cheap already"
    if argument(layer.node, "weight") is not layer.weight_node:
        return "its weight is quantized; compress first, then quantize"
    if layer.computed:
        return layer.computed
    return None if layer.has_own_weight else "it shares its weight with another call"


def rank_for(
    layer: Layer,
    method: str,
    ratio: float,
    seen: dict[fx.Node, Any] | None = None,
    multiple: int = 1,
) -> Ranks | None:
    """Find the ranks of least error at a share of the MACs; None if even rank 1 costs more.

    Args:
        layer: A layer that `refusal` does not refuse.
        method: The decomposition.
        ratio: The share, above 0 and below 1.
        seen: The result of `shapes` for the network, if it is known.
        multiple: Ranks are made multiples of this number, as `aligned` does.

    Raises:
        InvalidInputError: There is no such method, or the share is out of bounds.
    """
    if not 0 < ratio < 1:
        raise InvalidInputError(f"ratio={ratio} for {layer.name}; give one between 0 and 1")
    sizes, weight = LayerSizes.of(layer, seen), layer.weight.detach()
    return ranks_at(sizes, weight, method_of(layer, method), ratio, multiple)


def ranks_at(
    sizes: LayerSizes, weight: Tensor, method: Method, ratio: float, multiple: int = 1
) -> Ranks | None:
    """Find the ranks of a weight, as `rank_for` does for a layer.

    Args:
        sizes: The sizes at which its layer runs.
        weight: The weight, which may be smaller than that of the layer.
        method: The decomposition, as returned by `method_of`.
        ratio: Share of the MACs.
        multiple: Ranks are made multiples of this number.
    """
    shape = tuple(weight.shape)
    whole = sizes.macs(shape)

    def cost(ranks: Ranks) -> int:
        return sizes.macs(*shapes_of(method, shape, ranks))

    ranks = best_ranks(method, weight, int(ratio * whole), cost)
    if ranks is None or multiple == 1:
        return ranks
    return aligned(method, weight, ranks, multiple, lambda some: cost(some) < whole)


def factorize(
    layer: Layer,
    choice: Factorization,
    data: Moments | Samples | None = None,
    options: Refit | None = None,
    sizes: LayerSizes | None = None,
) -> Record:
    """Replace one layer by its factors: level 1 without data, level 2 with moments of data.

    Args:
        layer: The layer; its network is edited in place and gets the record.
        choice: The method and the ranks.
        data: Moments of its inputs and wanted outputs, from `moments_of`. With `Samples`, the
            factors are fitted to the output of the ReLU that follows.
        options: How the factors are fitted to the data. Default: `Refit()`.
        sizes: The sizes at which the layer runs, if they are known.

    Raises:
        InvalidInputError: There is no such method, or the ranks do not suit the layer.
    """
    sizes = LayerSizes.of(layer) if sizes is None else sizes
    record, _ = replace(layer, choice, data, options or Refit(), sizes)
    layer.network.records.append(record)
    layer.network.finish()
    return record


def replace(
    layer: Layer,
    choice: Factorization,
    data: Moments | Samples | None,
    options: Refit,
    sizes: LayerSizes,
) -> tuple[Record, list[Layer]]:
    """Factorize a layer during a walk over the graph, which ends with `Network.finish`.

    Args:
        layer: The layer.
        choice: The method and the ranks.
        data: Its data, or None.
        options: How the factors are fitted to the data.
        sizes: The sizes at which the layer runs.

    Returns:
        The record, and the new layers; the last one is the old call.
    """
    name, reason = layer.name, refusal(layer)
    if reason is not None:
        return Skipped(name, STEP, reason), [layer]
    method, shape = method_of(layer, choice.method), tuple(layer.weight.shape)
    _check_ranks(layer, method, choice.ranks)
    factors = shapes_of(method, shape, choice.ranks)
    before, after = sizes.macs(shape), sizes.macs(*factors)
    if after >= before:
        return Skipped(name, STEP, f"{method} of ranks {choice.ranks} saves no MACs"), [layer]
    biases = 0 if layer.bias is None else layer.bias.numel()
    numbers = {
        "MACs before": float(before),
        "MACs after": float(after),
        "parameters before": float(layer.weight.numel() + biases),
        "parameters after": float(sum(map(math.prod, factors)) + biases),
    }
    fitted = fit_chain(layer, method, choice.ranks, data, options)
    found = replace_by_chain(layer, fitted.chain)
    if fitted.shift is not None:
        found[-1].add_to_bias(fitted.shift)
    what = f"replaced by {len(found)} layers ({method}, ranks {_plain(choice.ranks)})"
    return Applied(name, STEP, what, {**numbers, **fitted.lost}), found


def method_of(layer: Layer, method: str) -> Method:
    """The method to use for a layer: the SVD if it has no kernel axes.

    Args:
        layer: The layer.
        method: The requested method.

    Raises:
        InvalidInputError: There is no such method.
    """
    known: Method | None = next((each for each in METHODS if each == method), None)
    if known is None:
        raise InvalidInputError(f"there is no method {method!r}; give one of {', '.join(METHODS)}")
    return known if any(taps > 1 for taps in layer.weight.shape[2:]) else "svd"


def _check_ranks(layer: Layer, method: Method, ranks: Ranks) -> None:
    weight = layer.weight.detach()
    most = full_ranks(method, weight)
    fits = len(ranks) == len(most) and all(1 <= r <= m for r, m in zip(ranks, most, strict=True))
    if not fits or attainable(method, weight.shape, ranks) != ranks:
        raise InvalidInputError(
            f"ranks {ranks} do not suit {layer.name} with {method}. Give {len(most)} ranks from 1 "
            f"to {_plain(most)} that the factors between them can connect, such as rank_for returns"
        )


def _plain(ranks: Ranks) -> str:
    return ", ".join(map(str, ranks))
