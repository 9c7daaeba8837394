"""Normalizations whose γ and β can take up a scale: y = γ x̂ + β, so y / s = (γ/s) x̂ + β/s."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.graph.layers import Layer
from tersor.graph.network import Gaussian
from tersor.graph.nodes import argument

aten = torch.ops.aten
CHANNEL_NORMS = {
    aten.batch_norm.default,
    aten.group_norm.default,
    aten.instance_norm.default,
}
NORMS = CHANNEL_NORMS | {aten.layer_norm.default}


@dataclass(frozen=True)
class Norm(Layer):
    """One call of a normalization, treated as a layer that scales its channels one by one."""

    @property
    def kernel_dims(self) -> int:
        """Number of axes after the channels: none for LayerNorm."""
        is_layer_norm = self.node.target not in CHANNEL_NORMS
        return 0 if is_layer_norm else self.node.meta["val"].ndim - 2

    @property
    def groups(self) -> int:
        """One group for each channel."""
        return len(self.weight)

    @property
    def output(self) -> Gaussian:
        """The distribution of the output: mean β, standard deviation |γ|."""
        scale = self.weight.detach().abs()
        shift = torch.zeros_like(scale) if self.bias is None else self.bias.detach()
        return Gaussian(shift, scale)

    def grouped(self, weight: Tensor) -> Float[Tensor, "groups out in"]:
        """γ as the weight of a depthwise layer."""
        return weight.reshape(-1, 1, 1)


def can_scale(node: fx.Node) -> bool:
    """Whether γ and β are stored, with one number per channel."""
    edges = [argument(node, name) for name in ("weight", "bias")]
    if edges[0] is None or any(e is not None and e.op != "get_attr" for e in edges):
        return False
    is_layer_norm = node.target not in CHANNEL_NORMS
    return not is_layer_norm or len(argument(node, "normalized_shape")) == 1
