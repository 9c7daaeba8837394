"""A network as an `nn.Module`: parameters, buffers and sub-modules are those of its graph.

The base of what `quantize` and `compress` return. Both modules hold the same dictionaries, so that
`to`, `eval`, `load_state_dict` and hooks act on the graph itself, under the user's own names.
"""

from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tersor.graph.network import Gaussian, Network

_SHARED = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")


class NetworkModule(nn.Module):
    """Passes everything that a module does on to the module of its network.

    Attributes:
        network: The network.
    """

    network: Network

    def __post_init__(self) -> None:
        nn.Module.__init__(self)
        self._share()
        self.eval()

    def _share(self) -> None:
        graph = self.network.module
        self.__dict__.update({name: graph.__dict__[name] for name in _SHARED})

    def train(self, mode: bool = True) -> "NetworkModule":
        """Switch the network to training or evaluation, as every module can be."""
        self.network.module.train(mode)
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> "NetworkModule":
        """Convert or move all tensors, those of examples and statistics included."""
        super()._apply(fn, recurse)
        _convert(self.network, fn)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _SHARED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._share()


def converted(network: Network, fn: Any) -> Network:
    """A copy of a network with all its tensors converted or moved."""
    copy = network.copy()
    copy.module._apply(fn)
    _convert(copy, fn)
    return copy


def _convert(network: Network, fn: Any) -> None:
    given = network.args, network.kwargs
    network.args, network.kwargs = pytree.tree_map_only(Tensor, fn, given)
    network.statistics = {
        name: Gaussian(fn(known.mean), fn(known.std)) for name, known in network.statistics.items()
    }
