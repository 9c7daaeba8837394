"""Tells whether samples are like those that the network was trained on, and if not, why.

The statistics of the first BatchNorms say what a network expects. Where samples do not give them,
the usual corrections are tried on them. The one that brings both into agreement names the mistake.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.data.given.sample_rows import sample_counts
from tersor.data.invented.synthetic import is_picture, pictures
from tersor.data.pictures.preparations import Correction, corrections
from tersor.data.suitability.expected import Expected, distance, expected, untrained
from tersor.data.suitability.folded_scale import scale_words
from tersor.data.suitability.some_values import some_values
from tersor.data.walk.observe import Batch
from tersor.errors import SamplesWarning
from tersor.graph.network import Network, Record, Skipped

SAMPLES = "samples"  # the step of the records
STATISTICS = "statistics"
ENOUGH, _TRIED = 64, 32  # samples that are looked at, and on which corrections are tried
_LIMIT = 0.06  # distance of samples that fit: at most 0.02 for six networks with their own data
_NUMBERS = 1 << 24  # of all samples on which corrections are tried
_FEW = 8  # so many samples may be twice as far
_GROSS = 0.5  # samples that are so far away are unlike those of the training in any case
_EXPLAINED = 1 / 3  # what a mistake leaves of the distance once it is corrected
_SWAPPED, _SWAPPED_LEAST = 0.5, 0.012  # the same for channels in the wrong order


@dataclass(frozen=True)
class Misfit:
    """Samples that are not like those of the training.

    Attributes:
        words: What is wrong and what to do, in sentences.
        is_sure: Whether a mistake explains it, or the difference is gross.
    """

    words: str
    is_sure: bool


def check_samples(network: Network, batches: Sequence[Batch]) -> None:
    """Compare samples with what a network expects; leaves a record, and warns if that is sure.

    Args:
        network: The captured network; gets the records.
        batches: Samples, as `(args, kwargs)`.
    """
    check_trained(network)
    network.records += samples_told(network, batches)


def samples_told(network: Network, batches: Sequence[Batch]) -> list[Record]:
    """Compare samples with what a network expects; returns the records, and warns if that is sure.

    Args:
        network: The captured network, as it was trained.
        batches: Samples, as `(args, kwargs)`.
    """
    found = misfit(network, batches)
    if found is None:
        return []
    if found.is_sure:
        warnings.warn(found.words, SamplesWarning, stacklevel=3)
    return [Skipped("samples", SAMPLES, found.words)]


def check_trained(network: Network) -> None:
    """Leave a record for BatchNorms that have never been trained.

    Args:
        network: The captured network; gets the records.
    """
    reason = (
        "its mean is 0 and its variance 1 in every channel, as before any training; train the "
        "model, or load its weights"
    )
    network.records += [Skipped(name, STATISTICS, reason) for name in untrained(network)]


def misfit(network: Network, batches: Sequence[Batch]) -> Misfit | None:
    """Find what is wrong with samples, or None if nothing is known to be wrong.

    Args:
        network: The captured network.
        batches: Samples, as `(args, kwargs)`.
    """
    few = _first(batches, ENOUGH)
    wanted = expected(network)
    if not few:
        return None
    if not wanted:
        words = scale_words(network, few)
        if words is None:
            return None
        return Misfit(f"The samples are not what the network expects: {words}", True)
    apart = distance(network, few, wanted)
    fix = _explanation(network, _tried(batches), wanted, apart, _limit(few))
    if fix is not None:
        return Misfit(f"The samples are not what {_told(wanted)} expects: {fix.words}", True)
    if not apart > _limit(few):
        return None
    words = (
        f"The samples are not what {_told(wanted)} expects, and no usual mistake explains it: give "
        "samples of the kind that the network was trained on, prepared in the same way"
    )
    return Misfit(words, apart > _GROSS)


def _told(wanted: Sequence[Expected]) -> str:
    return f"BatchNorm {wanted[0].name!r}"


def _limit(batches: Sequence[Batch]) -> float:
    return _LIMIT * (1 + _FEW / max(1, sum(sample_counts(batches))))


def _explanation(
    network: Network,
    batches: Sequence[Batch],
    wanted: Sequence[Expected],
    apart: float,
    limit: float,
) -> Correction | None:
    """The correction that brings samples into agreement with what is expected."""
    found = pictures(batches)
    if not found or apart < _SWAPPED_LEAST:
        return None
    channels = {x.shape[1] for x in found}
    if channels not in ({1}, {3}):
        return None
    best: tuple[float, Correction] | None = None
    for fix in corrections(some_values(batches)):
        if apart <= limit and not (fix.swapped and fix.given == fix.wanted):
            continue
        left = distance(network, _corrected(batches, fix), wanted)
        if left <= limit and (best is None or left < best[0] * (_SWAPPED if fix.swapped else 1)):
            best = left, fix
    if best is None:
        return None
    most = _EXPLAINED if apart > limit else _SWAPPED
    return best[1] if best[0] <= most * apart else None


def _corrected(batches: Sequence[Batch], fix: Correction) -> list[Batch]:
    return pytree.tree_map(lambda x: fix(x) if is_picture(x) else x, batches)


def _first(batches: Sequence[Batch], most: int) -> Sequence[Batch]:
    """The first batches with so many samples, but at least one batch."""
    sums = accumulate(sample_counts(batches))
    return batches[: max(1, sum(count <= most for count in sums))]


def _tried(batches: Sequence[Batch]) -> Sequence[Batch]:
    """The batches on which corrections are tried; all of these are in memory."""
    first = pytree.tree_leaves(batches[0])
    each = sum(x.numel() for x in first if isinstance(x, Tensor)) // sample_counts(batches)[0]
    return list(_first(batches, min(_TRIED, _NUMBERS // max(1, each))))
