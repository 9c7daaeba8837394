"""Top-1 after every equalizable channel was rescaled by a random factor, for several seeds.

The float function stays the same, and is checked. What per-tensor rounding sees is ruined, and
equalization has to find the way back. Factors are log-uniform in [1/32, 32], one per class of
channels that can only be rescaled together; ReLU6 becomes a clip at a bound per channel.
"""

import math
import statistics

import torch
from torch import Tensor

from benchmarks.harness import DFQ, NAIVE, Subject, Table, arguments, progress, subjects
from tersor.channels.partition import Channels, channels
from tersor.core.metrics import sqnr
from tersor.graph.network import Network
from tersor.graph.simplify import fold
from tersor.passes.rescale import rescale

LARGEST = 32.0
#: Rescaled and original float network must agree like this: float32 has no more digits.
SAME_DB = 80.0

#: Title → scheme and steps.
FORMATS = {
    "per-tensor: naive": ("dfq-paper", NAIVE),
    "per-tensor: DFQ": ("dfq-paper", DFQ),
    "default scheme: DFQ": ("onnxruntime-cpu", DFQ),
}


def main() -> None:
    """Print the table: the mean (smallest … largest) over the seeds."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="default: 5")
    args = parser.parse_args()
    titles = ("network", "channels", "format", "original", "rescaled", "largest change")
    table = Table(args, *titles)
    for subject in subjects(args):
        original = _measure(subject, subject.network)
        rescaled = []
        for seed in range(args.seeds):
            progress(subject.name, "seed", seed)
            network, count = rescaled_network(subject, seed)
            rescaled.append(_measure(subject, network))
        for title, before in original.items():
            after = [top1[title] for top1 in rescaled]
            raw = {"format": title, "original": before, "rescaled": after}
            cells = subject.name, f"{count:,}", title, *_cells(before, after)
            table.add(*cells, network=subject.name, images=len(subject.images), **raw)


def rescaled_network(subject: Subject, seed: int) -> tuple[Network, int]:
    """A folded copy with the same function and random channel scales, and how many there are."""
    network = subject.network.copy()
    fold(network)
    partition = channels(network)
    scale = random_scale(partition, seed)
    rescale(network, partition, scale, clipped="per-channel")
    images = subject.images[: subject.batch_size]
    with torch.inference_mode():
        ratio = sqnr(subject.network(images), network(images))
    assert ratio > SAME_DB, f"rescaling {subject.name} changed its function: {ratio:.1f} dB"
    return network, int((scale != 1).sum())


def random_scale(partition: Channels, seed: int) -> Tensor:
    """One factor per class: random where a layer can undo it at both ends, else 1."""
    ends = (partition.producers, partition.consumers)
    made, used = ({int(i) for port in side for i in port.classes} for side in ends)
    free = torch.tensor(sorted((made & used) - partition.frozen.keys()))
    scale = torch.ones(partition.count, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    exponent = 2 * torch.rand(len(free), generator=generator, dtype=torch.float64) - 1
    scale[free] = (math.log(LARGEST) * exponent).exp()
    return scale


def _measure(subject: Subject, network: Network) -> dict[str, float]:
    return {
        title: subject.quantized_top1(scheme, options, network)
        for title, (scheme, options) in FORMATS.items()
    }


def _cells(before: float, after: list[float]) -> tuple[str, str, str]:
    spread = f"{statistics.mean(after):.2f} ({min(after):.2f} … {max(after):.2f})"
    change = max((value - before for value in after), key=abs)
    return f"{before:.2f}", spread, f"{change:+.2f}"


if __name__ == "__main__":
    main()
