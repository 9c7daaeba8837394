"""Walks over the layers in the order of the graph, as every rounding with data does.

    x̂   the input of a layer once everything before it is quantized
    y   its output in the float network: the wanted output

AdaRound, arXiv 2004.10568, §3.3.2: with x̂ in place of x, a layer compensates the errors of the
layers before it ("asymmetric reconstruction"). The walk provides both for all samples, a solver
chooses the integers, and the next layer sees the result.

Differs from the paper in: some samples are held out, so that solvers can check their result on
them. If an output is added to a shortcut, the error of the shortcut is provided as well.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, fx

from tersor.core.lattice import Scales
from tersor.core.quadratic import Weights
from tersor.data.journal import Journal
from tersor.data.observe import Batch
from tersor.data.shortcut import lacking
from tersor.data.stream import Stream
from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network, Record, Skipped
from tersor.graph.nodes import operand
from tersor.quant.place import weight_quantizer
from tersor.quant.quantizer import FakeQuantize


@dataclass(frozen=True)
class Site:
    """One layer whose weight is to be rounded, and its data.

    Attributes:
        layer: The layer; its weight and bias are still those of the float network.
        quantizer: The quantizer of its weight, with a range.
        given: x̂ of every batch.
        wanted: y of every batch, bias included.
        missing: What the other side of an addition lacks, for every batch, if the output is added
            to something that is quantized already.
        held_back: Number of batches, the last ones, that are held out to check the result.
        seed: Seed of this layer.
    """

    layer: Layer
    quantizer: FakeQuantize
    given: list[Tensor] = field(repr=False)
    wanted: list[Tensor] = field(repr=False)
    missing: list[Tensor] | None = field(repr=False)
    held_back: int
    seed: int

    @property
    def used(self) -> slice:
        """The batches to round with."""
        return slice(0, len(self.given) - self.held_back)

    @property
    def judges(self) -> slice:
        """The batches to check the result on: the held-out ones, or all if there are none."""
        return slice(len(self.given) - self.held_back, None) if self.held_back else self.used

    @property
    def weights(self) -> Weights:
        """The float weights, with kernels flattened into the inputs."""
        return self.layer.grouped_weight().flatten(2)

    @property
    def scale(self) -> Scales:
        """The scale of every output, even if all have the same."""
        groups, outputs = self.layer.grouped_weight().shape[:2]
        return self.quantizer.scale.expand(groups * outputs).reshape(groups, outputs)

    @property
    def shares_scale(self) -> bool:
        """Whether all outputs have one scale."""
        return self.quantizer.axis is None

    def nearest(self) -> Weights:
        """The weights, each rounded to the nearest value of the grid."""
        grid, step = self.quantizer.grid, self.scale[..., None]
        return (self.weights / step).round().clamp(grid.qmin, grid.qmax) * step

    def store(self, rounded: Weights, scale: Scales | None = None) -> None:
        """Store rounded weights in the network.

        Args:
            rounded: Weights that are multiples of their scale.
            scale: New scales, if they have changed.
        """
        self.layer.set_grouped_weight(rounded.reshape(self.layer.grouped_weight().shape))
        if scale is not None:
            flat = scale.flatten()
            flat = flat[0] if self.shares_scale else flat
            self.quantizer.set_scale(flat, self.quantizer.zero_point)

    def shift_bias(self, shift: Tensor) -> None:
        """Add to the bias; a layer without a bias gets one.

        Args:
            shift: One number for each output.
        """
        shift = shift.flatten()
        self.layer.add_to_bias(shift)


def state(layer: Layer) -> dict[str, Tensor]:
    """Everything in a layer that a solver may change."""
    quantizer = weight_quantizer(layer)
    found = {"weight": layer.grouped_weight().detach()}
    if quantizer is not None and quantizer.enabled:
        found["scale"] = quantizer.scale
    return found if layer.bias is None else {**found, "bias": layer.bias.detach()}


def restore(layer: Layer, found: dict[str, Tensor]) -> None:
    """Restore what `state` returned.

    Args:
        layer: The layer.
        found: What `state` returned, on any device.
    """
    device, quantizer = layer.weight.device, weight_quantizer(layer)
    layer.set_grouped_weight(found["weight"].to(device))
    if quantizer is not None and "scale" in found:
        quantizer.set_scale(found["scale"].to(device), quantizer.zero_point)
    if "bias" in found:
        layer.set_bias(found["bias"].to(device))


Solver = Callable[[Site], Record]
OnLayer = Callable[[int, int, Record], None]
OnNode = Callable[[fx.Node, Stream, Stream], None]


def round_layers(
    network: Network,
    batches: list[Batch],
    solver: Solver,
    held_back: int = 0,
    seed: int = 0,
    on_layer: OnLayer | None = None,
    journal: Journal | None = None,
    on_node: OnNode | None = None,
) -> None:
    """Let a solver round the weights, layer by layer.

    Args:
        network: A network whose quantizers have their ranges; edited in place.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        solver: Rounds one layer, and returns a record of it.
        held_back: Number of batches, the last ones, that are held out to check results.
        seed: Seed of the first layer; every layer has its own.
        on_layer: Called after each layer with its number, the total number, and its record.
        journal: Saves finished layers; layers that are in it are not solved again.
        on_node: Called after each node with the float and the quantized stream, both past it.

    Raises:
        InvalidInputError: There is no batch, or none is left to round with.
    """
    if len(batches) <= held_back:
        raise InvalidInputError(
            f"there is no batch to round with: of {len(batches)}, {held_back} are held out; give "
            "more samples"
        )
    floating = Stream(network.copy(), batches, simulate=False)
    quantized = Stream(network, batches, simulate=True)
    todo = {layer.node.name: layer for layer in layers(network)}
    twins = zip(floating.network.graph.nodes, list(network.graph.nodes), strict=True)
    done, rounded = 0, set[fx.Node]()
    for float_node, node in twins:
        floating.run(float_node)
        if node.name in todo:
            layer = todo[node.name]
            quantizer, reason = weight_quantizer(layer), _refusal(layer, rounded)
            if quantizer is None or reason is not None:
                record: Record = Skipped(layer.name, "round", reason or _NOT_QUANTIZED)
            else:
                site = _site(layer, quantizer, floating, quantized, held_back, seed + done)
                record = _solve(solver, site, journal, f"{done:05d}")
            rounded.add(layer.weight_node)
            network.records.append(record)
            done += 1
            if on_layer is not None:
                on_layer(done, len(todo), record)
        quantized.run(node)
        if on_node is not None:
            on_node(node, floating, quantized)
    network.finish()


_NOT_QUANTIZED = "its weight is not quantized"


def _refusal(layer: Layer, rounded: set[fx.Node]) -> str | None:
    quantizer = weight_quantizer(layer)
    if quantizer is None or not quantizer.enabled:
        return _NOT_QUANTIZED
    if layer.weight_node in rounded:
        return "its weight was rounded for another layer that reads it"
    if layer.bias_node is not None and layer.bias_node.op != "get_attr":
        return "its bias is computed, so it cannot compensate any error"
    return None


def _solve(solver: Solver, site: Site, journal: Journal | None, key: str) -> Record:
    """Solve one layer, or read its result."""
    finished = journal.read(key) if journal else None
    if finished is not None:
        restore(site.layer, finished[0])
        return finished[1]
    record = solver(site)
    if journal is not None:
        journal.write(key, state(site.layer), record)
    return record


def _site(
    layer: Layer,
    quantizer: FakeQuantize,
    floating: Stream,
    quantized: Stream,
    held_back: int,
    seed: int,
) -> Site:
    edge = operand(layer.node)
    wanted, missing = floating.values[layer.node.name], lacking(layer, floating, quantized)
    return Site(layer, quantizer, quantized.of(edge), wanted, missing, held_back, seed)
