"""Partitions the channels of a network into classes that go together.

Every value gets a tensor of labels, of the value's own shape, that says which channel each element
belongs to. Data movement (reshape, transpose, chunk, concat, channel shuffle, flatten) then needs
no rules: the op itself is run on the labels. An addition makes the labels of its two sides equal. A
layer reads the labels of its input and starts new ones for its output. What remains is a partition
of all channels into classes that can only be scaled, or removed, together.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, fx

from tersor.channels.labels import Labels
from tersor.channels.rescaling import trace
from tersor.graph.layers import Layer
from tersor.graph.network import Network


@dataclass(frozen=True)
class Port:
    """One side of a layer: the class of each of its output or input channels."""

    layer: Layer
    classes: Int[Tensor, " channels"]


@dataclass(frozen=True)
class Clip:
    """A clipped activation inside a class.

    Attributes:
        node: The clip: `relu6`, `hardtanh`, `clamp`, or `minimum` with stored bounds.
        classes: The class of each channel; of length 1 if all channels have the same one.
        axis: The axis of the channels, counted from the end.
    """

    node: fx.Node
    classes: Int[Tensor, " channels"]
    axis: int


@dataclass
class Channels:
    """The partition of all channels of a network.

    Attributes:
        count: Number of classes.
        producers: Output sides of layers.
        consumers: Input sides of layers.
        clips: Clipped activations in between.
        frozen: Class → why it cannot be rescaled; absent if it can.
    """

    count: int
    producers: list[Port] = field(default_factory=list)
    consumers: list[Port] = field(default_factory=list)
    clips: list[Clip] = field(default_factory=list)
    frozen: dict[int, str] = field(default_factory=dict)


def channels(network: Network) -> Channels:
    """Partition the channels of all layers into classes that can only be rescaled together.

    Dividing all channels of a class by one positive number where layers produce them, and
    multiplying by it where layers consume them, leaves the function of the network unchanged if
    the bounds of the clips in between are divided too.
    """
    labels = trace(network)
    count, classes = components(labels)
    result = Channels(count)
    result.producers = [Port(layer, classes[ids]) for layer, ids in labels.produced]
    result.consumers = [Port(layer, classes[ids]) for layer, ids in labels.consumed]
    result.clips = [Clip(node, classes[ids], axis) for node, ids, axis in labels.clips]
    for label, reason in labels.frozen.items():
        result.frozen.setdefault(int(classes[label]), reason)
    return result


def components(labels: Labels) -> tuple[int, Int[Tensor, " labels"]]:
    """The number of classes, and the class of each label."""
    pairs = torch.cat([*labels.pairs, torch.zeros(2, 0, dtype=torch.long)], dim=1).numpy()
    graph = coo_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), [labels.count] * 2)
    count, found = connected_components(graph, directed=False)
    return int(count), torch.from_numpy(found).long()
