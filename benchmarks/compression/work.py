"""What one call of `compress` does: CPU seconds, runs over all shapes, and copies of the network.

    python -m benchmarks.compression.work --models resnet56 --macs 0.5

The last column is a hash of the weights that are left: two versions of Tersor that print the same
found the same network. `--profile` writes what `cProfile` sees to a file.
"""

import argparse
import cProfile
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import tersor
from benchmarks.harness import Table, progress
from benchmarks.zoo import MODELS
from benchmarks.zoo.data import cifar10_train
from tersor.graph import network as graph_network
from tersor.graph import shapes as graph_shapes


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["resnet56"])
    parser.add_argument("--macs", nargs="+", type=float, default=[0.5])
    parser.add_argument("--images", type=int, default=512, help="unlabelled")
    parser.add_argument("--stride", type=int, default=1, help="read every so many pixels only")
    parser.add_argument("--methods", default="spatial+prune")
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    titles = "network", "asked", "MACs", "CPU s", "wall s", "shapes()", "copies", "weights"
    table, calls = Table(args, *titles), Counter[str]()
    _count(calls)
    for name in args.models:
        for share in args.macs:
            progress(name, share)
            _add(table, name, share, calls, args)


def _add(
    table: Table, name: str, share: float, calls: Counter[str], args: argparse.Namespace
) -> None:
    model, step = MODELS[name].load(), args.stride
    data = images(name, args.images)[..., ::step, ::step]
    profile = cProfile.Profile() if args.profile else None
    calls.clear()
    cpu, wall = time.process_time(), time.perf_counter()
    if profile is not None:
        profile.enable()
    options = tersor.Compression(methods=tuple(args.methods.split("+")))
    found = tersor.compress(model, data[:2], macs=share, data=data, options=options)
    if profile is not None:
        profile.disable()
        profile.dump_stats(args.profile)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    left = found.cost.macs / found.original_cost.macs
    cells = f"{share:g}", f"{left:.4f}", f"{cpu:.1f}", f"{wall:.1f}"
    counted, weights = (calls["shapes"], calls["copy"]), digest(found.network.module.state_dict())
    figures = {"macs": left, "cpu": cpu, "wall": wall, "weights": weights, **calls}
    table.add(name, *cells, *map(str, counted), weights, **figures)


def images(name: str, count: int) -> Tensor:
    """The first training images, as a network reads them.

    Args:
        name: The network, one of those for CIFAR-10.
        count: How many.
    """
    return MODELS[name].normalize(cifar10_train()[0][:count])


def digest(state: dict[str, Tensor]) -> str:
    """The first digits of a hash of names and values.

    Args:
        state: What `state_dict` gives.
    """
    found = hashlib.sha256()
    for name, value in state.items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:8]


def _count(calls: Counter[str]) -> None:
    """Count calls of `shapes`, wherever it has been imported to, and of `Network.copy`."""
    assert tersor.compress  # loads all that it needs, so that all of it can be counted
    original, copy = graph_shapes.shapes, graph_network.Network.copy

    def counted(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return run(*args, **kwargs)

        return call

    counting = counted("shapes", original)
    for module in [m for name, m in sys.modules.items() if name.startswith("tersor")]:
        if getattr(module, "shapes", None) is original:
            setattr(module, "shapes", counting)  # noqa: B010
    graph_network.Network.copy = counted("copy", copy)


if __name__ == "__main__":
    main()
