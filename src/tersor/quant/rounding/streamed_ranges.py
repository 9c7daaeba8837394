"""Sets the ranges of activations while samples are on their way, without a pass of their own.

Ranges are those of the float network, whose values a walk over the layers reads anyway. A
range is needed when the quantized network comes to a quantizer: what nobody has read of the value
until then is read for it.

A bias has to fit into 32 bits before its weight is rounded. The range of the input is known by
then. If it does not fit, that of the output counts as well, and is computed ahead.
"""

from collections import defaultdict
from collections.abc import Sequence

from torch import fx

from tersor.data.given.sample_rows import sample_counts
from tersor.data.walk.observe import Batch
from tersor.data.walk.per_batch import Values
from tersor.data.walk.stream import Stream
from tersor.data.walk.watched import Watched
from tersor.graph.layers import Layer, is_layer, layers
from tersor.graph.network import Network
from tersor.quant.placement.quantizer import FakeQuantize, quantizer_at
from tersor.quant.range_methods import ActivationRange, MinMax
from tersor.quant.ranges.calibrate import activation_quantizers
from tersor.quant.ranges.overflow import guard_bias, overflows, quantizer_behind
from tersor.quant.ranges.seen_values import Seen, set_seen
from tersor.quant.rounding.shared_calls import other_calls


def can_be_streamed(network: Network) -> bool:
    """Whether the ranges may be set on the way: no weight is rounded for several calls at once.

    Args:
        network: A network with quantizers.
    """
    return not any(other_calls(layer) for layer in layers(network))


class _Watch:
    """A value whose range is wanted, and what has been seen of it by whoever reads it."""

    def __init__(self, value: fx.Node, values: Values, is_counted: bool) -> None:
        seen = Seen(is_counted)
        self.value, self.seen = value, seen
        self.values = Watched(values, lambda batch, found: seen(found, batch))


class StreamedRanges:
    """Sets the range of every activation quantizer while two streams run."""

    def __init__(
        self,
        network: Network,
        floating: Stream,
        batches: Sequence[Batch],
        method: ActivationRange,
    ) -> None:
        """Start with no range.

        Args:
            network: The network that is quantized; edited in place.
            floating: The stream of the float network.
            batches: The samples in it.
            method: How to choose a range.
        """
        self._network, self._floating, self._method = network, floating, method
        self._samples, self._first = sum(sample_counts(batches)), len(network.records)
        self._wanted = defaultdict[fx.Node, list[FakeQuantize]](list)
        for value, quantizer in activation_quantizers(network):
            self._wanted[value].append(quantizer)
        self._watches = dict[FakeQuantize, _Watch]()
        self._twins = {node.name: node for node in floating.network.graph.nodes}

    def run(self, float_node: fx.Node, node: fx.Node) -> None:
        """Run a node in the float stream, and set what the other stream needs to run it.

        Args:
            float_node: The node in the float network.
            node: The same in the network that is quantized.
        """
        if is_layer(node):
            self._guard(Layer(node, self._network))
        self._floating.run(float_node)
        if node in self._wanted:
            watched = self._watch(node)
            if node.name in self._floating.values:
                self._floating.values[node.name] = watched
        self._set(node)

    def finish(self) -> None:
        """Put the records of ranges before those of what was done on the way."""
        records = self._network.records
        found = records[self._first :]
        records[self._first :] = sorted(found, key=lambda record: record.step != "calibrate")

    def _guard(self, layer: Layer) -> None:
        """Make the bias of a layer fit in both networks, as its targets hold the bias."""
        if not overflows(layer):
            return
        behind = quantizer_behind(layer)
        if behind is not None:
            self._look_ahead(behind)
        guard_bias(layer)
        if layer.bias is not None:
            twin = Layer(self._twins[layer.node.name], self._floating.network)
            twin.set_bias(layer.bias.detach())

    def _look_ahead(self, node: fx.Node) -> None:
        """Set the range of a quantizer whose value may not have run yet."""
        quantizer = quantizer_at(self._network, node)
        for value in [value for value, found in self._wanted.items() if quantizer in found]:
            self._watch(value)
        self._set(node)

    def _watch(self, value: fx.Node) -> Watched:
        is_counted = not isinstance(self._method, MinMax)
        watch = _Watch(value, self._floating.of(self._twins[value.name]), is_counted)
        for quantizer in self._wanted.pop(value):
            self._watches[quantizer] = watch
        return watch.values

    def _set(self, node: fx.Node) -> None:
        """Set the range of a quantizer, if the node calls one that has none."""
        quantizer = quantizer_at(self._network, node)
        watch = None if quantizer is None else self._watches.pop(quantizer, None)
        if quantizer is not None and watch is not None:
            watch.values.look()
            parts = watch.seen, self._method, self._samples
            set_seen(self._network, watch.value, quantizer, *parts)
