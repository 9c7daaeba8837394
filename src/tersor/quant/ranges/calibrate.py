"""Sets the ranges of a network's quantizers without data.

    weights:      [min W, max W]
    activations:  [min_c (β_c − 6γ_c), max_c (β_c + 6γ_c)], and 0 below after a ReLU

DFQ, arXiv 1906.04721, §5: activation ranges follow from the BatchNorm statistics.

Differs from the paper in: the statistics are propagated through the whole graph (see
`tersor.distributions.propagation`). Where they do not reach, random inputs are run instead, and the
record says so. Weight ranges may also be percentiles, or have the smallest squared error.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, fx

from tersor.core.ranges import pair_safe_range
from tersor.data.invented.synthetic import Synthetic, synthetic_batches
from tersor.data.walk.observe import Extremes, observe
from tersor.distributions.distribution import Distribution
from tersor.graph.lanes import Pairs, partners
from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Applied, Network, Skipped
from tersor.graph.nodes import source
from tersor.graph.ops import LINEAR
from tersor.quant.placement.place import quantizers
from tersor.quant.placement.quantizer import FakeQuantize, adds_pairs
from tersor.quant.range_methods import MSE, MinMax, Range, RangeMethod
from tersor.quant.ranges.input_range import GUESS
from tersor.quant.ranges.read_range import cut_by_readers

# Masks for softmax: the lowest float32, or infinity. Beside it, one step would be larger than
# everything else.
_MASK = 1e30
# Real inputs make a classifier surer than random ones do: its results would be clipped, and a
# step twice as large costs little where nothing is computed any more.
_BEYOND = 1.0
_MANY = 0.5  # of the ranges: if more are guessed, the outputs are less sure than a test says
_GUESSED = (
    "ranges are guessed on random inputs, as no norm tells them: a few samples may do much better, "
    "in Python as data=, on the command line as --data"
)

_OTHER_RANGE = (
    "weight_range= was not used: its 8-bit weights have the largest range in which no pair of "
    "products overflows 16 bits"
)


def weight_ranges(
    network: Network, pair_safe: Pairs | None = None, method: RangeMethod | None = None
) -> None:
    """Set the range of every weight quantizer.

    Args:
        network: Edited in place.
        pair_safe: Choose 8-bit ranges such that no pair of u8×s8 products saturates 16 bits, as in
            `Scheme.pair_safe`; see `tersor.core.ranges.pair_safe_range`. Narrower grids never
            saturate, and neither do depthwise kernels.
        method: How to choose a range otherwise: `MinMax`, `Percentile` or `MSE`. By default the
            smallest squared error below 8 bits, and min-max with 8.
    """
    for node, quantizer in quantizers(network):
        if source(node).op == "get_attr":
            weight_range(network, node, quantizer, pair_safe, method)
            if pair_safe and method is not None:
                readers = _readers(network, node)
                pairs = [layer.name for layer in readers if adds_pairs(layer, quantizer)]
                network.records.extend(Skipped(x, "calibrate", _OTHER_RANGE) for x in pairs)


def weight_range(
    network: Network,
    node: fx.Node,
    quantizer: FakeQuantize,
    pair_safe: Pairs | None = None,
    method: RangeMethod | None = None,
) -> None:
    """Set the range of one weight quantizer.

    Args:
        network: The network.
        node: The call of the quantizer.
        quantizer: The quantizer.
        pair_safe: See `weight_ranges`.
        method: See `weight_ranges`.
    """
    weight = network.tensor(source(node)).detach()
    readers = _readers(network, node)
    quantizer.set_range(*weight_ends(weight, quantizer, readers, pair_safe, method))


def _readers(network: Network, node: fx.Node) -> list[Layer]:
    """The layers that read a value."""
    return [Layer(user, network) for user in node.users if is_layer(user)]


def weight_ends(
    weight: Tensor,
    quantizer: FakeQuantize,
    readers: Sequence[Layer],
    pair_safe: Pairs | None = None,
    method: RangeMethod | None = None,
) -> Range:
    """Choose the range of a weight.

    Args:
        weight: The weight, or some output channels of it.
        quantizer: Its quantizer, which is not changed.
        readers: The layers that read it.
        pair_safe: See `weight_ranges`.
        method: See `weight_ranges`.
    """
    adding = [layer for layer in readers if adds_pairs(layer, quantizer)]
    if pair_safe and adding:  # the finest range whose pairs are safe
        layer, partner = adding[0], partners(adding[0], pair_safe)
        return pair_safe_range(weight, layer.out_axis, quantizer.axis is not None, partner)
    chosen = method or (MinMax() if quantizer.grid.bits >= 8 else MSE())
    return chosen(weight, quantizer.grid, quantizer.axis)


def data_free_ranges(
    network: Network,
    distributions: Mapping[str, Distribution],
    inputs: Mapping[str, tuple[float, float]] | None = None,
    options: Synthetic = Synthetic(),  # noqa: B008
) -> None:
    """Set the range of every activation quantizer from what is known about its input.

    If nothing is known, or only a guess, random inputs are run as well, and the wider range is
    used. One record per quantizer names the source of its range, and one more tells if most are
    guesses.

    Args:
        network: Edited in place.
        distributions: Node name → distribution, from `tersor.distributions.propagation.propagate`.
        inputs: Input name → smallest and largest value; random inputs are clipped to it.
        options: The random inputs.
    """
    uncertain, activations = [], activation_quantizers(network)
    for value, quantizer in activations:
        known = distributions.get(value.name)
        ends = _known_range(known, value, quantizer)
        ends = ends and cut_by_readers(network, value, ends, quantizer.grid)
        if known is None or ends is None:
            uncertain.append((value, quantizer, Extremes(quantizer.axis)))
        elif known.guess:
            uncertain.append((value, quantizer, Extremes(quantizer.axis, *ends)))
        else:
            of_input = value.op == "placeholder"
            what = "the range of the input" if of_input else "range from the statistics of norms"
            set_activation(network, value, quantizer, ends, what)
    _run_synthetic(network, uncertain, inputs, options)
    if len(uncertain) > _MANY * len(activations):
        words = f"{len(uncertain)} of {len(activations)} {_GUESSED}"
        network.records.append(Skipped(uncertain[0][0].name, GUESS, words))


def _run_synthetic(
    network: Network,
    wanted: list[tuple[fx.Node, FakeQuantize, Extremes]],
    inputs: Mapping[str, tuple[float, float]] | None,
    options: Synthetic,
) -> None:
    """Widen the extremes by those on random inputs, and set the ranges."""
    extremes = {value: seen for value, _, seen in wanted}
    if wanted:
        observe(network, synthetic_batches(network, options, inputs), extremes)
    for value, quantizer, _ in wanted:
        seen = extremes[value]
        assert seen.low is not None
        assert seen.high is not None
        wider = 1 + (_BEYOND if _is_result(value) else options.margin)
        ends = seen.low * wider, seen.high * wider
        ends = cut_by_readers(network, value, ends, quantizer.grid)
        what = "range guessed on random inputs: no BatchNorm statistics reach it; give samples"
        set_activation(network, value, quantizer, ends, what)


def _is_result(value: fx.Node) -> bool:
    """Whether a linear layer computes what the network returns."""
    readers = [user for reader in value.users for user in reader.users]
    return value.target in LINEAR and all(user.op == "output" for user in readers)


def activation_quantizers(network: Network) -> list[tuple[fx.Node, FakeQuantize]]:
    """Every activation quantizer with the value that it reads; the first value if it is shared."""
    found: dict[FakeQuantize, fx.Node] = {}
    for node, quantizer in quantizers(network):
        if source(node).op != "get_attr":
            found.setdefault(quantizer, source(node))
    return [(value, quantizer) for quantizer, value in found.items()]


def _known_range(
    known: Distribution | None, value: fx.Node, quantizer: FakeQuantize
) -> Range | None:
    if known is None or not bool((known.low.isfinite() & known.high.isfinite()).all()):
        return None
    if quantizer.axis is None:
        return known.low.min(), known.high.max()
    same_axis = quantizer.axis % value.meta["val"].ndim == known.axis
    return (known.low, known.high) if same_axis else None


def set_activation(
    network: Network, value: fx.Node, quantizer: FakeQuantize, ends: Range, what: str
) -> None:
    """Set the range of one activation, and record it; masks stay in floating point.

    Args:
        network: Gets the record.
        value: The activation.
        quantizer: Its quantizer.
        ends: Smallest and largest value.
        what: The source of the range, in words.
    """
    if not all(bool((end.abs() < _MASK).all()) for end in ends):
        reason = "it holds a mask, infinite or nearly so; it stays in floating point"
        network.records.append(Skipped(value.name, "calibrate", reason))
        return
    quantizer.set_range(*ends)
    numbers = {"low": float(ends[0].min()), "high": float(ends[1].max())}
    network.records.append(Applied(value.name, "calibrate", what, numbers))
