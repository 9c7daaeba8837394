"""The moments of a site's data, which are all that the fast solver needs of them."""

import math

import torch

from tersor.data import gram as moments
from tersor.data.gram import Moments
from tersor.quant.layerwise import Site


def measure(site: Site, batches: slice, positions: int) -> Moments:
    """Measure the data of one layer in one pass.

    Args:
        site: The layer.
        batches: The batches.
        positions: Number of output positions to sample in all batches of the site.
    """
    given, wanted = site.given[batches], site.wanted[batches]
    missing = site.missing[batches] if site.missing is not None else [0.0] * len(given)
    pairs = ((x, y + lack) for x, y, lack in zip(given, wanted, missing, strict=True))
    count = math.ceil(positions / sum(map(len, site.given)))
    return moments.measure(site.layer, pairs, count, torch.Generator().manual_seed(site.seed))
