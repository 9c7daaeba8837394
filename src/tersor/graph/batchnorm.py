"""The BatchNorm calls of a network, with their arguments by name."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.core.batchnorm_affine import scale_and_shift
from tersor.graph.network import Gaussian, Network
from tersor.graph.nodes import argument, source

_VECTORS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class BatchNorm:
    """One call of `batch_norm`; its channels are axis 1.

    Attributes:
        node: The call in the graph.
        network: The network that it belongs to.
    """

    node: fx.Node
    network: Network

    @property
    def name(self) -> str:
        """The user's name of the module, taken from its statistics; else the name of the node."""
        mean = argument(self.node, "running_mean")
        path = str(mean.target).rpartition(".")[0] if isinstance(mean, fx.Node) else ""
        return path or self.node.name

    @property
    def input(self) -> fx.Node:
        """The node that computes the input, ignoring quantizers."""
        return source(argument(self.node, "input"))

    @property
    def parameters(self) -> tuple[fx.Node | float | None, ...]:
        """Everything that defines the map: the nodes of its four vectors, and ε."""
        return (*(argument(self.node, name) for name in _VECTORS), argument(self.node, "eps"))

    @property
    def refusal(self) -> str | None:
        """Why this call is not one fixed affine map, or None if it is."""
        *nodes, _ = self.parameters
        if argument(self.node, "training"):
            return "it normalizes by the statistics of each batch (training mode)"
        if nodes[2] is None or nodes[3] is None:
            return "it has no running statistics"
        if any(isinstance(node, fx.Node) and node.op != "get_attr" for node in nodes):
            return "its parameters are computed, not stored"
        return None

    @property
    def scale_and_shift(self) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
        """The affine map per channel that this call is in inference."""
        output, mean = self.output, self._vector("running_mean", 0.0)
        gamma = self._vector("weight", 1.0)
        var, eps = self._vector("running_var", 1.0), argument(self.node, "eps")
        return scale_and_shift(gamma, output.mean, mean, var, eps)

    @property
    def output(self) -> Gaussian:
        """The distribution of the output: mean β, standard deviation |γ|."""
        return Gaussian(self._vector("bias", 0.0), self._vector("weight", 1.0).abs())

    def _vector(self, name: str, default: float) -> Float[Tensor, " channels"]:
        """A copy of a stored vector, or the default for all channels."""
        node = argument(self.node, name)
        if node is None:
            mean = self.network.tensor(argument(self.node, "running_mean"))
            return torch.full_like(mean, default)
        return self.network.tensor(node).detach().clone()


def batch_norms(network: Network) -> Iterator[BatchNorm]:
    """All BatchNorm calls in execution order."""
    for node in network.nodes():
        if node.target is torch.ops.aten.batch_norm.default:
            yield BatchNorm(node, network)
