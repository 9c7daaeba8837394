"""Top-1 with every layer factorized to the same share of its MACs, without training.

    python -m benchmarks.compression.uniform --models resnet56 --ratio 0.5

Level 1 sees the weights only; level 2 fits to unlabelled training images, in the order of the
layers. The first and the last layer stay, as do those that cannot be factorized.
"""

import argparse
import time
from pathlib import Path

import torch

from benchmarks.harness import Table, progress
from benchmarks.zoo import MODELS, accuracy
from benchmarks.zoo.data import cifar10_train
from tersor.compression.chain import LayerSizes
from tersor.compression.chain_fit import Refit
from tersor.compression.factorize import Factorization, factorize, rank_for, refusal
from tersor.compression.reconstruct import factorize_with_data
from tersor.core.metrics import sqnr
from tersor.frontend.capture import capture
from tersor.graph.costs import costs, total
from tersor.graph.layers import layers
from tersor.graph.network import Network
from tersor.graph.shapes import shapes
from tersor.graph.simplify import fold
from tersor.names import METHODS, Method

TITLES = ("network", "method", "level", "MACs", "parameters", "top-1", "SQNR dB", "CPU s")
FITS = {"1": None, "2, linear": Refit(relu=False), "2": Refit()}


def main() -> None:
    """Print the table."""
    args = _parser().parse_args()
    torch.set_num_threads(args.threads)
    table = Table(args, *TITLES)
    for name in args.models:
        model = MODELS[name]
        network = capture(model.load(), model.example())
        fold(network)
        x, labels = (part[: args.limit] for part in model.data())
        data = model.normalize(cifar10_train()[0][: args.images])
        before, wanted = total(costs(network).values()), _outputs(network, x)
        _add(table, (name, "–", "–"), (1.0, 1.0, accuracy(network, x, labels), float("inf"), 0.0))
        for method in args.methods:
            choices = _choices(network, method, args.ratio)
            for level, options in FITS.items():
                progress(name, method, level)
                start = time.process_time()
                found = _factorized(network, choices, data, options)
                seconds, after = time.process_time() - start, total(costs(found).values())
                shares = after.macs / before.macs, after.parameters / before.parameters
                noise = float(sqnr(wanted, _outputs(found, x)))
                figures = (*shares, accuracy(found, x, labels), noise, seconds)
                _add(table, (name, method, level), figures)


def _choices(network: Network, method: Method, ratio: float) -> dict[str, Factorization]:
    seen, inner = shapes(network), list(layers(network))[1:-1]
    ranks = {each.name: rank_for(each, method, ratio, seen) for each in inner if not refusal(each)}
    return {name: Factorization(method, found) for name, found in ranks.items() if found}


def _factorized(
    network: Network, choices: dict[str, Factorization], data: torch.Tensor, options: Refit | None
) -> Network:
    found = network.copy()
    if options is not None:
        factorize_with_data(found, choices, [((part,), {}) for part in data.split(32)], options)
        return found
    seen = shapes(found)
    for layer in list(layers(found)):
        if layer.name in choices:
            factorize(layer, choices[layer.name], sizes=LayerSizes.of(layer, seen))
    return found


def _outputs(network: Network, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([network(part) for part in x.split(100)])


def _add(table: Table, what: tuple[str, ...], figures: tuple[float, ...]) -> None:
    macs, parameters, top1, noise, seconds = figures
    cells = (f"{macs:.3f}", f"{parameters:.3f}", f"{top1:.2f}", f"{noise:.1f}", f"{seconds:.0f}")
    table.add(*what, *cells, what=what, figures=figures)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cifar = [name for name, model in MODELS.items() if model.size == 32]
    parser.add_argument("--models", nargs="+", choices=cifar, default=["resnet56"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--ratio", type=float, default=0.5, help="share of each layer's MACs")
    parser.add_argument("--images", type=int, default=512, help="unlabelled, for level 2")
    parser.add_argument("--limit", type=int, help="test images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    main()
