"""One layer rounded in many ways, its cost and the accuracy: Tables 1, 2 and Fig. 1 of AdaRound.

The layer has one scale, that of the least ‖W − W̄‖²; all else stays in floating point. The cost is
the squared error of the layer's output on images of the training set (arXiv 2004.10568, eq. 20),
relative to that of nearest rounding. Accuracy is that of the test set; `--limit 10000` takes all.

Nearest, up, down and stochastic rounding know nothing of the data. The cross-entropy method and
descent minimise the cost over the integers, AdaRound its relaxation, without the activation that
follows (eq. 21) and with it (eq. 25). The last row is Tersor's fast solver with all its freedom:
it fits scale and bias too.
"""

import argparse
import copy
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, fx

from benchmarks.cross_entropy import cross_entropy
from benchmarks.harness import Subject, Table, arguments, progress, subjects
from benchmarks.zoo.data import cifar10_train
from tersor.core.lattice import closest
from tersor.core.quadratic import Weights
from tersor.data.walk.gram import Moments
from tersor.data.walk.observe import Batch
from tersor.data.walk.stream import Stream
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network, Skipped
from tersor.graph.simplify import fold
from tersor.quant.adaround import AdaRound, Problem, learn_rounding
from tersor.quant.fast_rounding import Rounding, round_layer
from tersor.quant.placement.place import place, quantizers, weight_quantizer
from tersor.quant.ranges.calibrate import MSE, weight_ranges
from tersor.quant.rounding.layer_task import LayerTask
from tersor.quant.rounding.layerwise import round_layers
from tersor.quant.schemes import find_scheme

BATCH = 250
EVERYTHING = slice(0, None)
#: Samples per weight so many that every output position is one.
ALL_POSITIONS = 10**9

Points = list[tuple[float, float]]
Add = Callable[..., None]


class Tail:
    """A network from one layer on; what comes before is computed once, for all test images."""

    def __init__(self, network: Network, layer: Layer, images: Tensor, labels: Tensor) -> None:
        """Compute what the layer reads."""
        self.labels = labels
        self.stream = Stream(network, [((x,), {}) for x in images.split(BATCH)], simulate=True)
        nodes = list(network.graph.nodes)
        start = nodes.index(layer.node)
        for node in nodes[:start]:
            self.stream.run(node)
        self.rest: list[fx.Node] = nodes[start:-1]

    def top1(self) -> float:
        """Accuracy with the weights that the layer has now, in percent."""
        stream = copy.copy(self.stream)
        stream.values = dict(self.stream.values)
        for node in self.rest:
            stream.run(node)
        (last,) = stream.network.graph.output_node().all_input_nodes
        hits = torch.cat(list(stream.of(last))).argmax(1) == self.labels
        return 100 * float(hits.float().mean())


@dataclass(frozen=True)
class Case:
    """One layer at one width.

    Attributes:
        task: The layer with its data.
        moments: The cost as a function of its weights.
        tail: Computes the accuracy.
        floating: The float weights.
    """

    task: LayerTask
    moments: Moments
    tail: Tail
    floating: Weights

    @property
    def ratio(self) -> Weights:
        """W / s."""
        return self.floating / self.task.scale[..., None]

    def limited(self, integers: Weights) -> Weights:
        """The integers, inside of the grid."""
        return integers.clamp(self.task.quantizer.grid.qmin, self.task.quantizer.grid.qmax)

    def cost(self, integers: Weights) -> float:
        """The squared error of the layer's output, summed over its channels."""
        return float(self.moments.problem.error(self.task.scale[..., None] * integers).sum())

    def judge(self, integers: Weights) -> tuple[float, float]:
        """Cost relative to nearest rounding, and accuracy."""
        self.task.store(self.task.scale[..., None] * integers)
        top1 = self.tail.top1()
        self.task.store(self.floating)
        return self.cost(integers) / self.cost(self.limited(self.ratio.round())), top1


def main() -> None:
    """Print the table."""
    parser = arguments(__doc__)
    parser.set_defaults(models=["resnet20"], limit=2000)
    parser.add_argument("--layers", nargs="+", default=["conv1", "layer2.0.conv1"], metavar="NAME")
    parser.add_argument("--bits", nargs="+", type=int, default=[4, 3, 2], metavar="N")
    parser.add_argument("--draws", type=int, default=100, metavar="N", help="default: 100")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--iterations", type=int, default=1000, metavar="N", help="of AdaRound")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw cost against accuracy")
    args = parser.parse_args()
    table = Table(args, "network", "layer", "bits", "rounding", "cost", "top-1", "draws")
    clouds: dict[str, Points] = {}
    for subject in subjects(args):
        batches = _calibration(subject)
        for name in args.layers:
            for bits in args.bits:
                progress(subject.name, name, bits, "bits")
                case = prepare(subject, name, bits, batches)
                add = partial(_add, table, subject.name, name, bits)
                clouds[f"{subject.name}, {name}, {bits} bits"] = compare(case, args, add)
    if args.plot is not None:
        plot(args.plot, clouds)


def _calibration(subject: Subject, count: int = 1024) -> list[Batch]:
    images = subject.model.normalize(cifar10_train()[0][:count])
    return [((batch,), {}) for batch in images.split(BATCH)]


def prepare(subject: Subject, name: str, bits: int, batches: list[Batch]) -> Case:
    """Quantize one layer of a network and nothing else, and measure its inputs."""
    network = subject.network.copy()
    fold(network)
    place(network, find_scheme("dfq-paper").with_bits(bits, 8))
    weight_ranges(network, method=MSE())
    (layer,) = (layer for layer in layers(network) if layer.name == name)
    for _, quantizer in quantizers(network):
        quantizer.enabled = quantizer is weight_quantizer(layer)
    tasks: list[LayerTask] = []

    def keep(task: LayerTask) -> Skipped:
        tasks.append(task)
        return Skipped(name, "round", "kept as it is")

    round_layers(network, batches, keep)
    (task,) = tasks
    tail = Tail(network, layer, subject.images, subject.labels)
    moments = task.moments(EVERYTHING, ALL_POSITIONS)
    return Case(task, moments, tail, task.weights.clone())


def compare(case: Case, args: argparse.Namespace, add: Add) -> Points:
    """Round in every way, and return cost and accuracy of the stochastic draws."""
    case.task.quantizer.enabled = False
    add("float", [(0.0, case.tail.top1())])
    case.task.quantizer.enabled = True
    ways = {"nearest": case.ratio.round(), "up": case.ratio.ceil(), "down": case.ratio.floor()}
    judged = {title: case.judge(case.limited(integers)) for title, integers in ways.items()}
    for title, point in judged.items():
        add(title, [point])
    draws = [case.judge(integers) for integers in stochastic(case, args.draws)]
    add("stochastic", draws, of_draws(draws, judged["nearest"][1]))
    add("stochastic, the draw of least cost", [min(draws)])
    solvers = {"cross-entropy": by_cross_entropy, "nearest plane, descent": by_descent}
    for title, alone in (("AdaRound, eq. 21", True), ("AdaRound, eq. 25", False)):
        solvers[title] = partial(by_adaround, iterations=args.iterations, alone=alone)
    for title, solver in solvers.items():
        progress(title)
        add(title, [case.judge(solver(case, seed)) for seed in range(args.seeds)])
    add("fast solver", [by_fast_solver(case)])
    return draws


def stochastic(case: Case, count: int) -> list[Weights]:
    """Round up with the probability W / s − ⌊W / s⌋."""
    generator = torch.Generator().manual_seed(0)
    low = case.ratio.floor()
    uniform = torch.rand(count, *low.shape, generator=generator)
    return [case.limited(low + (u < case.ratio - low)) for u in uniform]


def by_cross_entropy(case: Case, seed: int) -> Weights:
    """Minimise the cost over the integers next to each weight."""
    generator = torch.Generator().manual_seed(seed)
    grid, scale = case.task.quantizer.grid, case.task.scale
    return cross_entropy(case.moments.problem, case.floating, scale, grid, generator)[0]


def by_descent(case: Case, seed: int) -> Weights:  # noqa: ARG001
    """Minimise the cost over all integers of the grid."""
    task = case.task
    problem = case.moments.problem.damped(case.floating, Rounding.damping[0])
    return closest(problem, case.floating, task.scale, task.quantizer.grid).integers


def by_fast_solver(case: Case) -> tuple[float, float]:
    """Cost relative to nearest rounding, and accuracy, where scale and bias are fitted as well."""
    nearest = case.cost(case.limited(case.ratio.round()))
    round_layer(case.task, Rounding())
    cost = float(case.moments.centered().error(case.task.weights).sum())
    return cost / nearest, case.tail.top1()


def by_adaround(case: Case, seed: int, iterations: int, alone: bool) -> Weights:
    """The paper's relaxation, without or with the activation."""
    problem = Problem.of(case.task)
    if alone:
        problem = replace(problem, follow=lambda y: y)
    options = AdaRound(iterations=iterations, learning_rate=1e-2)
    soft = problem.weight(learn_rounding(problem, EVERYTHING, options, seed))
    return (case.task.layer.grouped(soft).flatten(2) / case.task.scale[..., None]).round()


def of_draws(draws: Points, nearest: float) -> str:
    """How accurate the best is, how many beat nearest, and the correlation with the cost."""
    cost, top1 = torch.tensor(draws).T
    pearson, spearman = _correlation(cost, top1), _correlation(_ranks(cost), _ranks(top1))
    better = int((top1 > nearest).sum())
    return f"best {top1.max():.2f}; {better} beat nearest; r = {pearson:.2f}, ρ = {spearman:.2f}"


def _correlation(x: Tensor, y: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([x, y]))[0, 1])


def _ranks(x: Tensor) -> Tensor:
    """Ranks from smallest to largest; equal values have the mean of theirs."""
    return (x[:, None] > x).sum(1) + 0.5 * (x[:, None] == x).sum(1)


def _add(
    table: Table, network: str, layer: str, bits: int, title: str, points: Points, draws: str = ""
) -> None:
    cost, top1 = zip(*points, strict=True)
    cells = network, layer, str(bits), title, _spread(cost, 3), _spread(top1, 2), draws
    raw = {"network": network, "layer": layer, "bits": bits, "rounding": title}
    table.add(*cells, **raw, cost=cost, top1=top1)


def _spread(values: tuple[float, ...], digits: int) -> str:
    """The mean, and the standard deviation if there are several values."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def plot(path: Path, clouds: dict[str, Points]) -> None:
    """Draw accuracy over cost, one panel for each layer and width. Needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(clouds), 3.5), layout="constrained")
    for axes, (title, points) in zip(
        figure.subplots(1, len(clouds), squeeze=False)[0], clouds.items(), strict=True
    ):
        axes.scatter(*zip(*points, strict=True), s=12)
        axes.set(title=title, xlabel="cost / cost of nearest", ylabel="top-1, %")
    figure.savefig(path)


if __name__ == "__main__":
    main()
