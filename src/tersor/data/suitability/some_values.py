"""Some values of pictures, evenly spaced: enough to tell how they were prepared."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.data.given.sample_rows import sample_counts
from tersor.data.invented.synthetic import pictures
from tersor.data.walk.observe import Batch

_MOST = 20_000  # values of a colour


def some_values(batches: Sequence[Batch]) -> Float[Tensor, "1 colours values 1"]:
    """Take some values of every colour, as one picture.

    Args:
        batches: Inputs with pictures of equally many colours, as `(args, kwargs)`.
    """
    each = sum(x[0, 0].numel() * len(x) for x in pictures(batches[:1])) / sample_counts(batches)[0]
    step = max(1, int(each * sum(sample_counts(batches))) // _MOST)
    found, skipped = [], 0
    for batch in batches:
        for x in pictures([batch]):
            rows = x.transpose(0, 1).flatten(1)
            found.append(rows[:, skipped::step].clone())
            skipped = (skipped - rows.shape[1]) % step
    return torch.cat(found, 1)[None, ..., None]
