"""The range of pictures that the BatchNorms of a network know, though nobody has told it.

Photographs are prepared in every usual way. The way that gives the statistics of the first
BatchNorms, where all others are far from them, is that of the training.
"""

import torch

from tersor.data.invented.plausible import Assumed, plausible
from tersor.data.invented.synthetic import example_inputs, is_picture
from tersor.data.pictures.preparations import Preparation
from tersor.data.suitability.expected import distance, expected
from tersor.graph.network import Network

_FITS = 0.1  # distance from the statistics; see `tersor.data.suitability.suitability`
_OTHERS = 3.0  # times as far the second best has to be


def known_preparation(network: Network) -> Preparation | None:
    """Find how a network's pictures were prepared in training; None if that is not clear.

    Args:
        network: The captured network.
    """
    names = [name for name, x in example_inputs(network).items() if is_picture(x)]
    wanted = expected(network)
    if len(names) != 1 or not wanted:
        return None
    kinds = plausible(network, Assumed(guessed=frozenset(names)))
    apart = sorted(
        ((distance(network, kind.batches, wanted), kind.way) for kind in kinds),
        key=lambda pair: pair[0],
    )
    (best, way), (second, _) = apart[:2]
    return way if best <= _FITS and second >= _OTHERS * best else None


def ends_of(way: Preparation) -> tuple[float, float]:
    """The smallest and the largest value that pixels can become.

    Args:
        way: The preparation.
    """
    colours = 1 if way.is_grey else 3
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    values = way.apply(ends.expand(2, colours, 1, 1))
    return float(values.min()), float(values.max())
