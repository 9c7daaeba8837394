"""Check what goes in first: samples that do not fit, and networks without training."""

from collections.abc import Sequence

from tersor.api.diagnosis.findings import Finding
from tersor.data.suitability.expected import untrained
from tersor.data.suitability.suitability import misfit
from tersor.data.walk.observe import Batch
from tersor.graph.network import Network

_SHOWN = 4


def samples_findings(network: Network, batches: Sequence[Batch]) -> list[Finding]:
    """Find what is wrong with the samples, or with the training, of a float network.

    Args:
        network: The captured network.
        batches: Samples of the user, as `(args, kwargs)`; none if there are only random inputs.
    """
    found = []
    wrong = misfit(network, batches)
    if wrong is not None:
        found.append(Finding(wrong.words))
    names = untrained(network)
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        what = "The model has not been trained: mean 0 and variance 1 in every channel"
        detail = f"BatchNorms {', '.join(names[:_SHOWN])}{more}; train it, or load its weights"
        found.append(Finding(what, (detail,)))
    return found
