"""Values that are no tensors: maps and sequences become arrays, and text is told, not compared.

A file of a classifier returns a map for each sample, class → probability. Its values are numbers,
in the order of the sorted keys.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch.utils import _pytree as pytree

from tersor.data.given.feeds import Arrays, to_batch
from tersor.frontend.onnx.tail import outputs_of, tail_of
from tersor.graph.carried_model import libraries, load
from tersor.graph.network import Network
from tersor.quant.noise.simulated import Simulation


def is_compared(kind: str) -> bool:
    """Whether a value of this type is numbers: a tensor, or a map or sequence of such.

    Args:
        kind: onnxruntime's name of the type, such as `seq(map(int64,tensor(float)))`.
    """
    while "(" in kind and not kind.startswith("tensor("):
        kind = kind.partition("(")[2].removesuffix(")")
        kind = kind.partition(",")[2] if "," in kind and not kind.startswith("map(") else kind
    return kind.startswith("tensor(") and kind not in ("tensor(string)", "tensor(complex64)")


def plain(value: Any) -> np.ndarray:
    """A value that onnxruntime returns, as one array.

    Args:
        value: An array, a map, a sequence of those, or None if an optional value is not there.
    """
    if value is None:
        return np.zeros(0, np.float32)
    if isinstance(value, dict):
        return np.array([value[key] for key in sorted(value)])
    if not isinstance(value, list):
        return np.asarray(value)
    parts = [plain(part) for part in value]
    if len({(part.shape, part.dtype) for part in parts}) == 1:
        return np.stack(parts)
    rows = [part.reshape(1, -1) for part in parts]
    return np.concatenate(rows, 1) if rows else np.zeros((1, 0), np.float32)


def told(outputs: Sequence[str], compared: Sequence[str]) -> list[str]:
    """Say so if no output can be compared.

    Args:
        outputs: Names of all outputs.
        compared: Names of those that are numbers.
    """
    names = ", ".join(map(repr, outputs))
    doubt = f"nothing was compared: no output is numbers ({names}); compare the answers yourself"
    return [] if compared else [doubt]


class Tail:
    """What a file computes behind the network that was read from it; see `frontend.onnx.tail`."""

    def __init__(self, model: onnx.ModelProto, body: Sequence[str]) -> None:
        """Load it.

        Args:
            model: The tail.
            body: Names of the outputs of the network.
        """
        self._session = load(model, libraries())
        self._order, self._body = outputs_of(model), list(body)
        self._made = {v.name: is_compared(v.type) for v in self._session.get_outputs()}

    @classmethod
    def of(cls, network: Network) -> "Tail | None":
        """That of the file of a network, or None."""
        if network.origin is None:
            return None
        model = tail_of(network.origin.model.metadata_props.items())
        names = [str(value.name) for value in network.origin.model.graph.outputs]
        return None if model is None else cls(model, names)

    def __call__(self, feed: Arrays, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs of the file that are numbers, in order.

        Args:
            feed: The inputs.
            outputs: What the network returned.
        """
        known: dict[str, Any] = {**feed, **dict(zip(self._body, outputs, strict=True))}
        given = {value.name: known[value.name] for value in self._session.get_inputs()}
        made = dict(zip(self._made, self._session.run(None, given), strict=True))
        names = [name for name in self._order if self._made.get(name, True)]
        return [plain(made[name]) if name in made else known[name] for name in names]


def simulated(network: Network, is_used_again: bool = True) -> Callable[[Arrays], list[np.ndarray]]:
    """What runs a simulation, with the tail of its file; outputs are in the order of the file's.

    Args:
        network: The simulation.
        is_used_again: As for `Simulation`.
    """
    simulation, tail = Simulation(network, is_used_again), Tail.of(network)

    def run(feed: Arrays) -> list[np.ndarray]:
        leaves = pytree.tree_leaves(simulation(to_batch(network, feed)))
        found = [leaf.cpu().numpy() for leaf in leaves if isinstance(leaf, torch.Tensor)]
        return found if tail is None else tail(feed, found)

    return run
